"""Comparing a document with the expected one."""

from __future__ import annotations

from typing import Any

from lab.comparing import differences

VOLUME: dict[str, Any] = {
    "volume_id": "ssd", "free_space": 10_000, "bricks": ["a:/1", "b:/1"],
    "images": [{"image_id": "one", "size_mb": 1}, {"image_id": "two", "size_mb": 2}],
}  # fmt: skip


def test_equal_documents_have_no_differences() -> None:
    assert differences({"volumes": [VOLUME]}, {"volumes": [VOLUME]}, {}) == []


def test_the_order_in_lists_means_nothing() -> None:
    turned = VOLUME | {"images": VOLUME["images"][::-1], "bricks": VOLUME["bricks"][::-1]}
    assert differences([VOLUME], [turned], {}) == []


def test_a_number_may_differ_by_its_part_only_where_that_is_said() -> None:
    near = VOLUME | {"free_space": 10_009}
    assert differences(VOLUME, near, {"free_space": 0.001}) == []
    assert differences(VOLUME, near, {}) == ["free_space is 10009, expected 10000"]
    assert differences(VOLUME, near | {"free_space": 9_989}, {"free_space": 0.001})


def test_a_difference_in_a_list_is_told_by_the_name_of_its_object() -> None:
    other = VOLUME | {"images": [{"image_id": "two", "size_mb": 2}, {"image_id": "one", "size_mb": 7}]}
    assert differences({"v": [VOLUME]}, {"v": [other]}, {}) == ["v[ssd].images[one].size_mb is 7, expected 1"]


def test_what_is_missing_and_what_is_too_much_are_told() -> None:
    other = VOLUME | {"images": [VOLUME["images"][0]], "bricks": ["a:/1", "b:/1", "c:/1"], "more": 1}
    assert sorted(differences(VOLUME, other, {})) == [
        "bricks has what is not expected: 'c:/1'", "images lacks two", "more is not expected: 1"
    ]  # fmt: skip


def test_a_string_is_not_the_number_it_spells_and_true_is_not_one() -> None:
    assert differences({"a": 1}, {"a": "1"}, {})
    assert differences({"a": 1}, {"a": True}, {})
    assert differences(["1"], [1], {})


def test_equal_entries_count_as_often_as_they_are_there() -> None:
    assert differences(["a", "a"], ["a"], {}) == [" lacks 'a'"]
