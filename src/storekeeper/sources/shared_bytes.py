"""Which files share which bytes, from the extents that FIEMAP marks as shared. Pure.

Extents count as shared only at the same offset in both files: what lies elsewhere is deduplication, and
says nothing of where a file comes from. So an extent of a file is a `run`: three numbers, the way from
its offset in the file to its place on the device, and where it begins and ends in the file. Two files
share where they have runs of the same way that overlap. What is ENCODED (btrfs' compression) has no place
a byte, only a start: there the start, made odd, stands for the way.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from storekeeper.sources.contract import ExtentRow

# linux/fiemap.h
_UNKNOWN, _DELALLOC, _ENCODED, _DATA_INLINE, _SHARED = 0x2, 0x4, 0x8, 0x200, 0x2000
_NOWHERE = _UNKNOWN | _DELALLOC | _DATA_INLINE

# A thousand clones of one template would be a million pairs: of those that have one way in common, each
# is compared with the oldest only. What it was made from is among them, or they share as much with it.
ELDERS = 8

Runs = Sequence[int]
"""(way, start, end) of each shared extent, flat, in the order of their starts."""


def runs_of(rows: Iterable[ExtentRow]) -> array[int]:
    """The runs of a file's extents that may be shared; neighbours of one way are one run."""
    runs = array("Q")
    for logical, physical, length, flags in rows:
        if not flags & _SHARED or flags & _NOWHERE or not length:
            continue
        way = physical | 1 if flags & _ENCODED else (physical - logical) % (1 << 64)
        if runs and runs[-1] == logical and runs[-3] == way:
            runs[-1] = logical + length
        else:
            runs.extend((way, logical, logical + length))
    return runs


def covered_bytes(files: Mapping[str, Runs]) -> dict[str, int]:
    """How many bytes each file has in common with any other: one sweep over all starts and ends."""
    by_way = defaultdict(list)
    for key, runs in files.items():
        for at in range(0, len(runs), 3):
            by_way[runs[at]].append((runs[at + 1], runs[at + 2], key))
    covered = dict.fromkeys(files, 0)
    for found in by_way.values():
        if len(found) == 1:
            continue
        # `shared` counts the bytes passed so far that two files at least have; a run holds as many as it
        # grew by between the run's start and its end.
        shared = open_runs = before = 0
        edges = [(start, 1, key) for start, _, key in found] + [(end, 0, key) for _, end, key in found]
        for place, opens, key in sorted(edges):
            if open_runs > 1:
                shared += place - before
            before = place
            open_runs += 1 if opens else -1
            covered[key] += -shared if opens else shared
    return covered


def common_bytes(one: Runs, other: Runs) -> int:
    """How many bytes two files have in common."""
    total = i = j = 0
    while i < len(one) and j < len(other):
        start, end = max(one[i + 1], other[j + 1]), min(one[i + 2], other[j + 2])
        if start < end and one[i] == other[j]:
            total += end - start
        if one[i + 2] <= other[j + 2]:
            i += 3
        else:
            j += 3
    return total


def elders(files: Mapping[str, Runs]) -> dict[str, tuple[str, ...]]:
    """The older files, oldest first, with which each file is to be compared: of those that have a way in
    common with it, the ELDERS oldest. `files` stand in the order of their age.
    """
    by_way: dict[int, dict[str, None]] = defaultdict(dict)
    for key, runs in files.items():
        for at in range(0, len(runs), 3):
            by_way[runs[at]][key] = None
    older: dict[str, set[str]] = defaultdict(set)
    for family in {tuple(each) for each in by_way.values() if len(each) > 1}:
        for number, key in enumerate(family):
            older[key].update(family[: min(number, ELDERS)])
    age = {key: number for number, key in enumerate(files)}
    return {key: tuple(sorted(each, key=age.__getitem__)) for key, each in older.items() if each}
