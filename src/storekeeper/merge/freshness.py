"""How long what was seen counts as now, and when the truth will change by time alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from time import gmtime, strftime
from types import MappingProxyType

from storekeeper.merge.truth import HostView, Look
from storekeeper.sources import SOURCES, paced
from storekeeper.sources.contract import LONGEST_PAUSE_S

PROBES_AN_ANSWER_LASTS = 3


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
        self._sources = paced(every_s) if every_s else SOURCES

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
        source, took_s = self._sources.get(look.seen.source), look.seen.took_s
        # A source of another version of Storekeeper, whose pause is not known here.
        pause_s = LONGEST_PAUSE_S if source is None else source.pause_s(took_s)
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
