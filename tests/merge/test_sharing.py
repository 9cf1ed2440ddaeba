"""Reflink clones: who was made from whom."""

from __future__ import annotations

from typing import Any

from storekeeper.merge.truth import Memory, Remembered
from storekeeper.observation import UNKNOWN, Image
from tests.merge.builders import (
    NOW,
    declared,
    external,
    guest,
    guests,
    host,
    image,
    images,
    merged,
    parents,
    sharing,
    spaced,
    truths,
)

V = external()


def raw(key: str, born: int = UNKNOWN, **more: Any) -> Image:
    return image(key, "raw", born_ns=born, **more)


def test_the_parent_is_the_member_born_before_it_with_which_it_shares_most_bytes() -> None:
    family = images(V, raw("old", 1), raw("mid", 2), raw("new", 3))
    shares = sharing(V, ("old", "mid", 10), ("old", "new", 5), ("mid", "new", 8))
    assert parents(V, family, shares) == {"mid": "old", "new": "mid"}


def test_of_equals_the_oldest_is_the_parent_and_the_oldest_of_all_is_an_image() -> None:
    family = images(V, raw("old", 1), raw("mid", 2), raw("new", 3))
    shares = sharing(V, ("old", "mid", 5), ("old", "new", 5), ("mid", "new", 5))
    assert parents(V, family, shares) == {"mid": "old", "new": "old"}


def test_a_parent_in_a_header_goes_before_one_by_shared_extents() -> None:
    family = images(
        V,
        image("base", born_ns=1),
        image("a", born_ns=2, parent="base"),
        image("b", born_ns=3, parent="base"),
    )
    found = truths(V, family, sharing(V, ("a", "b", 9)))
    assert {key: (each.parent, each.parent_by) for key, each in found.items() if each.parent} == {
        "a": (("v", "base"), "header"),
        "b": (("v", "base"), "header"),
    }


def test_without_births_the_one_seen_first_is_the_parent() -> None:
    memory = Memory(volumes={"s/v": Remembered(first_seen={"z": NOW - 100})})
    assert parents(V, images(V, raw("a"), raw("z")), sharing(V, ("a", "z", 5)), memory=memory) == {"a": "z"}


def test_without_births_and_seen_at_once_the_older_mtime_then_the_first_name_decides() -> None:
    shares = sharing(V, ("a", "z", 5))
    assert parents(V, images(V, raw("a", modified_ns=2), raw("z", modified_ns=1)), shares) == {"a": "z"}
    assert parents(V, images(V, raw("a"), raw("z")), shares) == {"z": "a"}


def test_equal_births_are_as_none() -> None:
    shares = sharing(V, ("a", "z", 5))
    assert parents(V, images(V, raw("a", 7, modified_ns=2), raw("z", 7, modified_ns=1)), shares) == {"a": "z"}


def test_once_decided_it_stays_while_they_share_a_byte() -> None:
    memory = Memory(volumes={"s/v": Remembered(parents={"old": "new"})})
    family = images(V, raw("old", 1), raw("new", 2))
    assert parents(V, family, sharing(V, ("old", "new", 1)), memory=memory)["old"] == "new"
    assert parents(V, family, memory=memory) == {}
    alone = merged(declared(V), host(spaced(V), family, sharing(V)), memory=memory)
    assert alone.memory.of("s/v").parents == {}


def test_what_is_decided_is_remembered_until_a_later_look_shows_otherwise() -> None:
    family = images(V, raw("old", 1), raw("new", 2))
    truth = merged(declared(V), host(spaced(V), family, sharing(V, ("old", "new", 1))))
    assert truth.memory.of("s/v").parents == {"new": "old"}
    later = merged(declared(V), host(spaced(V)), memory=truth.memory)
    assert later.memory.of("s/v").parents == {"new": "old"}


def test_no_shared_byte_is_no_family() -> None:
    assert parents(V, images(V, raw("a", 1), raw("b", 2)), sharing(V, ("a", "b", 0))) == {}


def test_an_image_rebased_onto_its_own_copy_is_not_that_ones_parent_as_well() -> None:
    family = images(V, image("old", born_ns=1, parent="new"), image("new", born_ns=2))
    assert parents(V, family, sharing(V, ("old", "new", 5))) == {"old": "new"}


def test_a_file_without_evidence_is_an_image_only_as_a_copy_of_a_raw_one() -> None:
    bare = [
        image(key, "raw", evidence="none", born_ns=born)
        for key, born in (("copy", 2), ("copy2", 3), ("other", 4))
    ]
    shares = sharing(V, ("a.img", "copy", 5), ("copy", "copy2", 5), ("q", "other", 5))
    found = images(V, raw("a.img", 1), image("q", born_ns=1), *bare)
    assert parents(V, found, shares) == {"copy": "a.img", "copy2": "copy"}
    assert set(truths(V, found, shares)) == {"a.img", "q", "copy", "copy2"}


def test_a_copy_of_a_guests_bare_disk_is_an_image_too() -> None:
    disk, copy = (
        image(key, "raw", evidence="none", born_ns=born) for key, born in (("disk", 1), ("copy", 2))
    )
    shares = sharing(V, ("disk", "copy", 5))
    assert truths(V, images(V, disk, copy), shares) == {}
    assert parents(V, images(V, disk, copy), shares, guests(guest("g", "/v/disk"))) == {"copy": "disk"}
