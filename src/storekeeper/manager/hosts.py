"""What agents said of themselves: which machine, which version, when, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from storekeeper.merge.hosts import HostReport


class HostReports:
    """The last of every host. What a foreign machine does in a host's name is told for `hold_s`."""

    def __init__(self, hold_s: float) -> None:
        self._hold_s = hold_s
        self._known: dict[str, HostReport] = {}
        self._claims: dict[str, tuple[float, str]] = {}

    def now(self, now: float) -> Mapping[str, HostReport]:
        """All that is known at `now`."""
        self._claims = {
            host_id: claim for host_id, claim in self._claims.items() if now - claim[0] < self._hold_s
        }
        told = dict(self._known)
        for host_id, (_, text) in self._claims.items():
            told[host_id] = replace(told.get(host_id) or HostReport(host_id=host_id), error_msg=text)
        return told

    def reported(self, report: HostReport) -> None:
        """A report came, applied or (`incompatible`) not; a later one takes its place."""
        self._known[report.host_id] = report

    def claimed(self, host_id: str, text: str, now: float) -> None:
        """Another machine spoke as this host; what the host itself said stays."""
        self._claims[host_id] = (now, text)

    def reported_at(self, host_id: str) -> float:
        """When a report of this host was last applied; 0 for never."""
        known = self._known.get(host_id)
        return known.reported_at if known else 0.0

    def forget(self, host_id: str) -> None:
        """Another machine is to be this host, or none."""
        self._known.pop(host_id, None)
        self._claims.pop(host_id, None)
