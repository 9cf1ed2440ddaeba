"""What of a document differs from the expected one, a line each. The order in lists means nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_ALIKE = (0, 0)


def differences(expected: Any, seen: Any, within: Mapping[str, float], place: str = "") -> list[str]:
    """Every difference, with its place; `within` has by field name the part by which numbers may differ."""
    return list(_differences(expected, seen, within, place))


def _differences(expected: Any, seen: Any, within: Mapping[str, float], place: str) -> Iterator[str]:
    if isinstance(expected, dict) and isinstance(seen, dict):
        for key in expected.keys() | seen.keys():
            below = f"{place}.{key}".lstrip(".")
            if key not in seen:
                yield f"{below} is missing"
            elif key not in expected:
                yield f"{below} is not expected: {seen[key]!r}"
            else:
                yield from _differences(expected[key], seen[key], within, below)
    elif isinstance(expected, list) and isinstance(seen, list):
        yield from _list_differences(expected, seen, within, place)
    elif not _equal(expected, seen, within.get(place.rpartition(".")[2], 0.0)):
        yield f"{place} is {seen!r}, expected {expected!r}"


def _list_differences(
    expected: list[Any], seen: list[Any], within: Mapping[str, float], place: str
) -> Iterator[str]:
    """Each expected entry is compared with the entry that is most like it."""
    left = list(seen)
    for entry in expected:
        likest = min(left, key=lambda other: _unlike(entry, other, within), default=None)
        if likest is None or (not isinstance(entry, dict) and _unlike(entry, likest, within) > _ALIKE):
            yield f"{place} lacks {_shown(entry)}"
            continue
        left.remove(likest)
        yield from _differences(entry, likest, within, f"{place}[{_name(entry)}]")
    for entry in left:
        yield f"{place} has what is not expected: {_shown(entry)}"


def _unlike(entry: Any, other: Any, within: Mapping[str, float]) -> tuple[int, int]:
    """How much two entries differ: what they are called counts before all else."""
    count = len(list(_differences(entry, other, within, "")))
    return (int(_name(entry) != _name(other)), count) if count else _ALIKE


def _name(entry: Any) -> str:
    """What an object is called, by its most own id."""
    if not isinstance(entry, dict):
        return str(entry)
    keys = ("clone_id", "image_id", "physical_disk_id", "volume_id")
    return next((str(entry[key]) for key in keys if key in entry), "")


def _shown(entry: Any) -> str:
    return (_name(entry) or repr(entry)) if isinstance(entry, dict) else repr(entry)


def _equal(expected: Any, seen: Any, part: float) -> bool:
    numbers = isinstance(expected, int | float) and isinstance(seen, int | float)
    if numbers and not isinstance(expected, bool) and not isinstance(seen, bool):
        return bool(abs(seen - expected) <= abs(expected) * part)
    return type(expected) is type(seen) and bool(expected == seen)
