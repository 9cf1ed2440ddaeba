"""Who shares what, against a slow oracle that looks at every block of every file."""

from __future__ import annotations

from array import array
from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from storekeeper.sources.contract import ExtentRow
from storekeeper.sources.shared_bytes import ELDERS, common_bytes, covered_bytes, elders, runs_of

BLOCK = 4096
SHARED, UNKNOWN, DELALLOC, ENCODED, INLINE = 0x2000, 0x2, 0x4, 0x8, 0x200


@st.composite
def files_of_extents(draw: st.DrawFn) -> list[ExtentRow]:
    """Extents of one file, in order, in few enough places that files collide often."""
    rows, at = [], 0
    for _ in range(draw(st.integers(0, 8))):
        at += draw(st.integers(0, 2))
        length = draw(st.integers(1, 4))
        flags = draw(
            st.sampled_from(
                (
                    SHARED,
                    SHARED,
                    SHARED,
                    0,
                    SHARED | ENCODED,
                    SHARED | UNKNOWN,
                    SHARED | DELALLOC,
                    SHARED | INLINE,
                )
            )
        )
        near = draw(st.booleans())  # at the place of its offset: what clones have in common
        physical = at + 64 if near else draw(st.integers(0, 40))
        rows.append(ExtentRow(at * BLOCK, physical * BLOCK, length * BLOCK, flags))
        at += length
    return rows


def blocks(rows: list[ExtentRow]) -> dict[int, tuple[bool, int]]:
    """Each block of the file that may be shared: whether it is encoded, and where it lies."""
    found = {}
    for logical, physical, length, flags in rows:
        if flags & SHARED and not flags & (UNKNOWN | DELALLOC | INLINE):
            for offset in range(0, length, BLOCK):
                encoded = bool(flags & ENCODED)
                found[logical + offset] = (encoded, physical if encoded else physical + offset)
    return found


@given(st.dictionaries(st.text("abcdef", min_size=1, max_size=2), files_of_extents(), max_size=6))
def test_the_bytes_in_common_are_those_of_equal_blocks_at_equal_offsets(
    files: dict[str, list[ExtentRow]],
) -> None:
    runs = {key: runs_of(rows) for key, rows in files.items()}
    slow = {key: blocks(rows) for key, rows in files.items()}
    for one, other in combinations(files, 2):
        expected = BLOCK * len(slow[one].items() & slow[other].items())
        assert common_bytes(runs[one], runs[other]) == common_bytes(runs[other], runs[one]) == expected
    for key, covered in covered_bytes(runs).items():
        others = set().union(*(slow[other].items() for other in files if other != key))
        assert covered == BLOCK * len(slow[key].items() & others)


@given(st.dictionaries(st.text("abcdef", min_size=1, max_size=2), files_of_extents(), max_size=6))
def test_no_pair_that_shares_is_left_out_of_a_small_family(files: dict[str, list[ExtentRow]]) -> None:
    runs = {key: runs_of(rows) for key, rows in files.items()}
    found = {(elder, key) for key, keys in elders(runs).items() for elder in keys}
    assert found >= {pair for pair in combinations(files, 2) if common_bytes(runs[pair[0]], runs[pair[1]])}
    assert found <= set(combinations(files, 2))


def test_of_a_large_family_each_is_compared_with_the_oldest_only() -> None:
    runs = array("Q", (64 * BLOCK, 0, BLOCK))
    found = elders({f"{number:04d}": runs for number in range(1000)})
    assert found["0999"] == tuple(f"{number:04d}" for number in range(ELDERS))
    assert found["0002"] == ("0000", "0001")
    assert sum(map(len, found.values())) < 1000 * ELDERS


def test_neighbouring_extents_of_one_way_are_one_run() -> None:
    rows = [ExtentRow(at * BLOCK, (at + 9) * BLOCK, BLOCK, SHARED) for at in range(1000)]
    assert runs_of(rows) == array("Q", (9 * BLOCK, 0, 1000 * BLOCK))


def test_an_extent_that_lies_before_its_offset_has_a_way_too() -> None:
    assert runs_of([ExtentRow(8 * BLOCK, 0, BLOCK, SHARED)])[0] == 2**64 - 8 * BLOCK
