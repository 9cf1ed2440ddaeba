"""What is measured as it happens: reports, and how long each change took to be served."""

from __future__ import annotations

import time
from collections import Counter

from msgspec import Struct

from bench.fleet.storages import MIB
from bench.table import percentile
from storekeeper.errors import StorekeeperError
from storekeeper.observation import Image
from storekeeper.report import Report

# An image of a storage with a size that only one change gave it.
Mark = tuple[str, int]


class Spread(Struct, frozen=True):
    """A set of times in ms; zeros of none."""

    count: int = 0
    median_ms: float = 0.0
    p99_ms: float = 0.0
    worst_ms: float = 0.0


def spread(times_s: list[float]) -> Spread:
    """The spread of times that were measured in seconds."""
    if not times_s:
        return Spread()
    return Spread(len(times_s), *(round(1e3 * percentile(times_s, share), 1) for share in (0.5, 0.99, 1.0)))


class Timings:
    """Gathers, until `reset`. Of the volumes in `watched` each change is followed into the document."""

    def __init__(self) -> None:
        self.watched: set[str] = set()
        self._sent: dict[Mark, float] = {}
        self._changed: dict[Mark, float] = {}
        self.reset()

    def reset(self) -> None:
        """Begins anew, but for changes that are under way."""
        self.began = time.monotonic()
        self.reports_s: list[float] = []
        self.full = 0
        self.failures: Counter[str] = Counter()
        self.report_to_document_s: list[float] = []
        self.change_to_document_s: list[float] = []
        self.lag_s: list[float] = []

    def changed(self, key: str, size_mb: int) -> None:
        """A change was made to the volume of this key."""
        if key in self.watched:
            self._changed[key, size_mb] = time.monotonic()

    def sending(self, report: Report) -> float:
        """A report is about to leave."""
        now = time.monotonic()
        for change in report.changes:
            if change.source == "images" and change.scope in self.watched:
                for fact in change.facts:
                    assert isinstance(fact, Image)
                    mark = (change.scope, fact.header.virtual_bytes // MIB)
                    if mark in self._changed:
                        self._sent.setdefault(mark, now)
        return now

    def answered(self, report: Report, began: float) -> float:
        """It was acknowledged."""
        now = time.monotonic()
        self.reports_s.append(now - began)
        self.full += report.full
        return now

    def failed(self, error: StorekeeperError) -> None:
        """It was not."""
        self.failures[error.code] += 1

    def served(self, key: str, size_mb: int) -> None:
        """A document showed this size."""
        mark = (key, size_mb)
        now = time.monotonic()
        if mark in self._sent:
            self.report_to_document_s.append(now - self._sent.pop(mark))
            self.change_to_document_s.append(now - self._changed.pop(mark))

    def waiting(self, key: str, sizes: set[int]) -> int:
        """How many of a volume's changes that still hold (`sizes`) were sent and not served yet."""
        return sum(1 for mark in self._sent if mark[0] == key and mark[1] in sizes)
