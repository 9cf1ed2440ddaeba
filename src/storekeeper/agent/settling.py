"""Events, settled: many hints in a burst become one look at few paths. Pure.

A burst is looked at once it pauses for DELAY_S, but at the latest CEILING_S after its first event.
More than PATH_LIMIT paths become their directories, more than that the whole scope.
"""

from __future__ import annotations

from msgspec import Struct

DELAY_S = 0.01
CEILING_S = 0.2
PATH_LIMIT = 256


class Settling(Struct):
    """What waits to be looked at again in one scope. `whole`: all of it. Times are a monotonic clock's."""

    paths: set[str] = set()
    whole: bool = False
    first_at: float = 0.0
    last_at: float = 0.0

    @property
    def waiting(self) -> bool:
        """Whether anything waits."""
        return self.whole or bool(self.paths)

    def add(self, paths: tuple[str, ...], now: float) -> None:
        """An event concerning these paths, or the whole scope when there are none."""
        if not self.waiting:
            self.first_at = now
        self.last_at = now
        if not paths:
            self.whole = True
        self.paths.update(paths)
        if len(self.paths) > PATH_LIMIT:
            self.paths = {path.rpartition("/")[0] for path in self.paths}
            self.whole = self.whole or "" in self.paths or len(self.paths) > PATH_LIMIT
        if self.whole:
            self.paths.clear()

    def due_at(self) -> float:
        """When the burst is to be looked at, if no further event comes."""
        return min(self.last_at + DELAY_S, self.first_at + CEILING_S)

    def take(self) -> tuple[str, ...]:
        """The paths to look at now, none for the whole scope; nothing waits afterwards."""
        taken = () if self.whole else tuple(sorted(self.paths))
        self.whole = False
        self.paths = set()
        return taken
