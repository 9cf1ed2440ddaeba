"""A mapping in parts is as a dict, save that a copy of it costs what is changed in it."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storekeeper import parts
from storekeeper.parts import Parts, copied, differing

keys = st.integers(0, 40)
mappings = st.dictionaries(keys, st.integers(0, 3))
# A value to set, or None: the key goes.
steps = st.lists(st.lists(st.tuples(keys, st.none() | st.integers(0, 3)), max_size=6), max_size=6)


@pytest.fixture(autouse=True, scope="module")
def small_parts() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "KEYS_A_PART", 2)
        patch.setattr(parts, "FEW", 4)
        yield


@given(mappings, steps)
def test_whatever_is_done_to_it_it_is_as_a_dict_and_what_it_was_copied_from_stays(
    first: dict[int, int], taken: list[list[tuple[int, int | None]]]
) -> None:
    known = [(first, dict(first), Parts(first))]
    for changes in taken:
        _, before, mapping = known[-1]
        now, copy = dict(before), mapping.copied()
        for key, value in changes:
            if value is None:
                assert copy.pop(key, None) == now.pop(key, None)
            else:
                copy[key] = now[key] = value
        known.append((now, dict(now), copy))
    for _, plain, mapping in known:
        assert mapping == plain
        assert len(mapping) == len(plain)
        assert sorted(mapping) == sorted(plain)
        assert sorted(mapping.items()) == sorted(plain.items())
        assert sorted(mapping.values()) == sorted(plain.values())
        assert all((key in mapping) is (key in plain) for key in range(41))
        assert all(mapping.get(key, -1) == plain.get(key, -1) for key in range(41))
    for _, plain, mapping in known:
        for _, other_plain, other in known:
            wanted = {key for key in {*plain, *other_plain} if plain.get(key) != other_plain.get(key)}
            assert differing(mapping, other) == differing(plain, other) == differing(plain, other_plain)
            assert differing(mapping, other) == wanted


def test_a_key_that_is_not_there_is_an_error_as_of_a_dict() -> None:
    mapping = Parts({"a": 1})
    with pytest.raises(KeyError):
        mapping["b"]
    with pytest.raises(KeyError):
        del mapping["b"]
    del mapping["a"]
    assert not mapping


class Key:
    """A key that counts how often it is looked up."""

    lookups = 0

    def __init__(self, number: int) -> None:
        self.number = number

    def __hash__(self) -> int:
        Key.lookups += 1
        return self.number


def lookups_of_a_change(before: MutableMapping[Key, int], key: Key) -> int:
    Key.lookups = 0
    now = copied(before)
    now[key] = 1
    assert differing(before, now) == {key}
    return Key.lookups


def test_a_change_among_thousands_touches_few_of_them() -> None:
    every = [Key(number) for number in range(4000)]
    assert lookups_of_a_change(Parts(dict.fromkeys(every, 0)), every[7]) < 20


def test_what_grows_gets_more_parts() -> None:
    every = [Key(number) for number in range(4000)]
    grown = Parts({every[0]: 0})
    grown.update(dict.fromkeys(every, 0))
    assert lookups_of_a_change(grown.copied(), every[7]) < 20


def test_few_are_a_plain_dict() -> None:
    assert isinstance(copied({1: 1}), dict)
    assert isinstance(copied(dict.fromkeys(range(9))), Parts)
