"""How long what was seen counts as now, and when the truth will change by time alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from time import gmtime, strftime
from types import MappingProxyType

from storekeeper.merge.truth import HostView, Look
from storekeeper.sources import SOURCES

PROBES_AN_ANSWER_LASTS = 3
# The agent makes the pause between two looks at a volume longer after one that took long, up to this.
LONGEST_PAUSE_S = 30.0
WORK_SHARE = 20

_EVERY_S = {source.name: source.every_s for source in SOURCES.values()}
_OF_VOLUMES = frozenset(source.name for source in SOURCES.values() if source.of == "volume")


class Horizon:
    """What is fresh at `now`; gathers in `until` the first moment at which one of its answers changes.

    `every_s`: pauses of sources that are not their own.
    """

    def __init__(
        self, now: float, host_timeout_s: float, every_s: Mapping[str, float] = MappingProxyType({})
    ) -> None:
        self.now = now
        self.until = math.inf
        self._host_timeout_s = host_timeout_s
        self._every_s = {**_EVERY_S, **every_s}

    def reported(self, view: HostView) -> bool:
        """Whether the host's last report is recent enough."""
        return self._holds_until(view.reported_at + self._host_timeout_s)

    def answered(self, look: Look) -> bool:
        """Whether the probe's last answer is no older than three of its intervals."""
        return self._holds_until(look.at + PROBES_AN_ANSWER_LASTS * self._interval_s(look))

    def answers_soon(self, look: Look) -> bool:
        """Whether another host that began when this answer was too old may still be at its first look."""
        deadline_s = SOURCES[look.seen.source].deadline_s
        return self._holds_until(look.at + PROBES_AN_ANSWER_LASTS * self._interval_s(look) + deadline_s)

    def _interval_s(self, look: Look) -> float:
        """The time from one answer of a probe to its next: its pause, and as long as the look takes."""
        pause_s = self._every_s.get(look.seen.source, LONGEST_PAUSE_S)
        took_s = look.seen.took_s
        if look.seen.source in _OF_VOLUMES:
            pause_s = max(pause_s, min(LONGEST_PAUSE_S, WORK_SHARE * took_s))
        return pause_s + took_s

    def _holds_until(self, end: float) -> bool:
        # Compared as it is handed out, so that the truth of the moment `until` is another one.
        if self.now >= end:
            return False
        self.until = min(self.until, end)
        return True


def when(at: float) -> str:
    """A moment as a message tells it: absolute, so that a document does not change as time goes by."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")


def rfc3339(at: float) -> str:
    """A moment as JSON tells it; `""` for never."""
    # A fifth of what a datetime takes, and a list of 20,000 images has 40,000 of them.
    return strftime("%Y-%m-%dT%H:%M:%S+00:00", gmtime(at)) if at > 0 else ""
