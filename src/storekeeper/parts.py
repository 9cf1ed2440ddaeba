"""A mapping in parts, of which a change copies one: of a volume's thousands of images a few change at a time.

What was handed on is never changed: `copied` gives a mapping to change instead, that shares with the one
before all that does not change. Small ones, and those made in one go, are plain dicts.
"""

from __future__ import annotations

from collections.abc import Collection, ItemsView, Iterator, Mapping, MutableMapping, Set, ValuesView
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")
D = TypeVar("D")

# How many keys a part has when it is made, on average; with four times as many, there are to be more parts.
KEYS_A_PART = 32
# A dict of so few is copied whole in less time.
FEW = 256


class Parts(MutableMapping[K, V]):
    """A mapping whose keys are spread over dicts by their hashes. In no order."""

    __slots__ = ("_mask", "_owned", "_parts", "_size")

    def __init__(self, items: Mapping[K, V]) -> None:
        count = 1
        while count * KEYS_A_PART < len(items):
            count *= 2
        self._parts: list[dict[K, V]] = [{} for _ in range(count)]
        self._mask = mask = count - 1
        parts = self._parts
        for key, value in items.items():
            parts[hash(key) & mask][key] = value
        self._size = len(items)
        # Which parts are this mapping's alone; None: all.
        self._owned: set[int] | None = None

    def copied(self) -> Parts[K, V]:
        """A mapping to change, which shares all parts. This one is not to be changed any more."""
        if self._size > 4 * KEYS_A_PART * len(self._parts):
            return Parts(self)
        now = Parts.__new__(Parts)
        now._parts, now._mask, now._size, now._owned = self._parts.copy(), self._mask, self._size, set()
        return now

    def differing(self, new: Parts[K, V]) -> set[K] | None:
        """The keys at which the two differ; None where that cannot be told part by part."""
        if len(self._parts) != len(new._parts):
            return None
        changed: set[K] = set()
        for before, now in zip(self._parts, new._parts, strict=True):
            if before is not now:
                changed |= _differing(before, now)
        return changed

    def __getitem__(self, key: K) -> V:
        return self._parts[hash(key) & self._mask][key]

    def get(self, key: K, default: D = None) -> V | D:  # type: ignore[assignment]
        """As of a dict."""
        return self._parts[hash(key) & self._mask].get(key, default)

    def __contains__(self, key: object) -> bool:
        return key in self._parts[hash(key) & self._mask]

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[K]:
        for part in self._parts:
            yield from part

    def __setitem__(self, key: K, value: V) -> None:
        part = self._own(key)
        before = len(part)
        part[key] = value
        self._size += len(part) - before

    def __delitem__(self, key: K) -> None:
        del self._own(key)[key]
        self._size -= 1

    def pop(self, key: K, default: D = None) -> V | D:  # type: ignore[assignment]
        """As of a dict; without a default None."""
        if key not in self:
            return default
        self._size -= 1
        return self._own(key).pop(key)

    def items(self) -> ItemsView[K, V]:
        """As of a dict."""
        return _Items(self)

    def values(self) -> ValuesView[V]:
        """As of a dict."""
        return _Values(self)

    def _own(self, key: K) -> dict[K, V]:
        at = hash(key) & self._mask
        if self._owned is not None and at not in self._owned:
            self._parts[at] = self._parts[at].copy()
            self._owned.add(at)
        return self._parts[at]


class _Items(ItemsView[K, V]):
    """Quicker than to look up each key."""

    _mapping: Parts[K, V]

    def __iter__(self) -> Iterator[tuple[K, V]]:
        for part in self._mapping._parts:
            yield from part.items()


class _Values(ValuesView[V]):
    """The same."""

    _mapping: Parts[object, V]

    def __iter__(self) -> Iterator[V]:
        for part in self._mapping._parts:
            yield from part.values()


def copied(mapping: Mapping[K, V]) -> MutableMapping[K, V]:
    """A mapping to change, equal to this one, which is not to be changed any more."""
    if isinstance(mapping, Parts):
        return mapping.copied()
    return dict(mapping) if len(mapping) < FEW else Parts(mapping)


def differing(old: Mapping[K, object], new: Mapping[K, object]) -> set[K]:
    """The keys at which the two differ. What did not change is mostly the very same object."""
    if old is new:
        return set()
    changed = old.differing(new) if isinstance(old, Parts) and isinstance(new, Parts) else None
    return changed if changed is not None else _differing(old, new)


def _differing(old: Mapping[K, object], new: Mapping[K, object]) -> set[K]:
    if not old:
        return set(new)
    changed = {key for key, value in new.items() if (before := old.get(key)) is not value and before != value}
    added = sum(key not in old for key in changed)
    if len(old) + added != len(new):
        changed.update(key for key in old if key not in new)
    return changed


def in_order(keys: Set[K], there: Mapping[K, object]) -> Collection[K]:
    """The keys; many in the order of the mapping, in which their objects lie in memory: that is faster."""
    if len(keys) < len(there) // 2:
        return keys
    return [*filter(keys.__contains__, there), *(keys - there.keys())]
