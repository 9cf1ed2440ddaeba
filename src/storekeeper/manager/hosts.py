"""What agents said of themselves: which machine, which version, when, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from storekeeper.database.steps import Mark
from storekeeper.merge.hosts import HostReport

# An agent that is refused tries again after half a minute at the latest; one try may fail.
CLAIMED_AGAIN_S = 60.0


def host_reports(marks: Mapping[str, Mark], hold_s: float, now: float) -> dict[str, HostReport]:
    """The last of every host. What a foreign machine does in a host's name is told for `hold_s`, or for as
    long as it may take until that machine tries again.
    """
    hold_s = max(hold_s, CLAIMED_AGAIN_S)
    return {
        host_id: replace(mark.report, error_msg=mark.claim)
        if mark.claim and now - mark.claimed_at < hold_s
        else mark.report
        for host_id, mark in marks.items()
    }
