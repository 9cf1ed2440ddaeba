"""Rows in blocks: the same rows are in the same blocks, and a change leaves all others as they are."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Mapping
from itertools import count

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storekeeper.rows import ROWS_A_BLOCK, Rows, plain

Pair = tuple[str, int]
Change = dict[str, int | None]


def name(row: Pair) -> str:
    return row[0]


def begins(row_id: str) -> bool:
    return zlib.crc32(row_id.encode()) % ROWS_A_BLOCK == 0


def some(wanted: Callable[[str], bool], many: int) -> list[str]:
    """So many ids of this kind."""
    ids = (f"{number * 7919 % 10000:04}" for number in count())
    return [each for each, _ in zip(filter(wanted, ids), range(many), strict=False)]


# With as many blocks as there can be of so few rows.
IDS = [*some(begins, 24), *some(lambda each: not begins(each), 40), "", "é", "\U0001f600"]
SIZES = st.integers(0, 2)
FIRST = st.dictionaries(st.sampled_from(IDS), SIZES, min_size=len(IDS) // 2)
CHANGES = st.lists(st.dictionaries(st.sampled_from(IDS), st.none() | SIZES, max_size=3) | FIRST, max_size=6)


def rows_of(sizes: Mapping[str, int]) -> Rows[Pair]:
    return Rows.of([*sorted(sizes.items())], name)


def updated(rows: Rows[Pair], change: Change) -> Rows[Pair]:
    return rows.updated({each: None if size is None else (each, size) for each, size in change.items()})


def after(sizes: Mapping[str, int], change: Change) -> dict[str, int]:
    return {each: size for each, size in {**sizes, **change}.items() if size is not None}


def same(one: Iterable[object], other: Iterable[object]) -> bool:
    return [*map(id, one)] == [*map(id, other)]


@given(FIRST, CHANGES)
def test_whatever_there_was_before_the_same_rows_are_in_the_same_blocks(
    sizes: dict[str, int], changes: list[Change]
) -> None:
    rows = rows_of(sizes)
    for change in changes:
        rows, sizes = updated(rows, change), after(sizes, change)
        anew = rows_of(sizes)
        assert (rows.blocks, rows.firsts) == (anew.blocks, anew.firsts)
        assert [*rows] == sorted(sizes.items())


@given(st.sets(st.sampled_from(IDS)))
def test_a_block_begins_with_the_first_row_and_with_each_of_certain_ids(ids: set[str]) -> None:
    rows = rows_of(dict.fromkeys(ids, 1))
    assert list(rows.firsts) == [each for at, each in enumerate(sorted(ids)) if not at or begins(each)]
    assert [block[0][0] for block in rows.blocks] == list(rows.firsts)


@given(FIRST, CHANGES)
def test_blocks_and_rows_that_do_not_change_are_the_very_same_objects(
    sizes: dict[str, int], changes: list[Change]
) -> None:
    rows = rows_of(sizes)
    for change in changes:
        former, rows = rows, updated(rows, change)
        blocks = {block: block for block in former.blocks}
        assert same(rows.blocks, [blocks.get(block, block) for block in rows.blocks])
        known = {row: row for row in former}
        assert same(rows, [known.get(row, row) for row in rows])


@given(FIRST, st.sets(st.sampled_from(IDS), max_size=3))
def test_rows_to_which_nothing_happens_are_themselves(sizes: dict[str, int], few: set[str]) -> None:
    rows = rows_of(sizes)
    assert updated(rows, {each: sizes.get(each) for each in few}) is rows
    assert updated(rows, {each: sizes.get(each) for each in IDS}) is rows


def test_of_many_rows_a_change_looks_at_a_few_only() -> None:
    asked: list[str] = []

    def asked_name(row: Pair) -> str:
        asked.append(row[0])
        return row[0]

    rows = Rows.of([(f"{number:05}", 1) for number in range(20_000)], asked_name)
    asked.clear()
    now = updated(rows, {"07000": 2, "07001": None, "07000-new": 1})
    assert len(now) == 20_000
    assert sum(one is not other for one, other in zip(now.blocks, rows.blocks, strict=True)) == 1
    assert len(asked) < 60


@given(FIRST, st.slices(len(IDS)))
def test_rows_are_used_as_a_list_is(sizes: dict[str, int], some: slice) -> None:
    rows, pairs = rows_of(sizes), sorted(sizes.items())
    assert len(rows) == len(pairs)
    assert rows[some] == pairs[some]
    assert [rows[at] for at in range(-len(pairs), len(pairs))] == pairs * 2
    for at in (len(pairs), -len(pairs) - 1):
        with pytest.raises(IndexError):
            rows[at]


@given(FIRST, FIRST)
def test_rows_are_equal_to_whatever_holds_the_same(one: dict[str, int], other: dict[str, int]) -> None:
    rows, pairs = rows_of(one), sorted(one.items())
    assert rows == rows_of(one)
    assert rows == pairs
    assert pairs == rows
    assert rows == tuple(pairs)
    assert (rows == rows_of(other)) == (rows == sorted(other.items())) == (one == other)
    assert rows != pairs[1:]
    assert rows != 1


def test_no_rows_are_an_empty_list() -> None:
    rows = Rows(name)
    assert (list(rows), len(rows)) == ([], 0)
    assert rows == []
    assert rows.updated({"a": None}) is rows


def test_rows_in_blocks_stay_as_they_are() -> None:
    rows = rows_of({"a": 1})
    assert Rows.of(rows, name) is rows


def test_rows_are_encoded_as_a_list_and_nothing_else_is() -> None:
    assert msgspec.json.encode([rows_of({"a": 1, "b": 2})], enc_hook=plain) == b'[[["a",1],["b",2]]]'
    with pytest.raises(NotImplementedError, match="object is not encoded"):
        msgspec.json.encode(object(), enc_hook=plain)
