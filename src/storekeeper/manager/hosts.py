"""What agents said of themselves: which machine, which version, when, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from storekeeper.database.steps import Mark
from storekeeper.merge.hosts import HostReport


def host_reports(marks: Mapping[str, Mark], hold_s: float, now: float) -> dict[str, HostReport]:
    """The last of every host. What a foreign machine does in a host's name is told for `hold_s`."""
    return {
        host_id: replace(mark.report, error_msg=mark.claim)
        if mark.claim and now - mark.claimed_at < hold_s
        else mark.report
        for host_id, mark in marks.items()
    }
