"""For how long a host tells that another machine speaks in its name."""

from __future__ import annotations

import pytest

from storekeeper.agent.delivery import LONGEST_PAUSE_S
from storekeeper.database.steps import Mark
from storekeeper.manager.hosts import host_reports
from storekeeper.merge.hosts import HostReport

MARK = Mark(host_id="h1", report=HostReport(host_id="h1"), claim="Another machine.", claimed_at=100.0)


@pytest.mark.parametrize("hold_s", [5.0, 300.0])
def test_it_does_so_until_that_machine_must_have_tried_again_however_short_the_time_out(
    hold_s: float,
) -> None:
    def said(after_s: float) -> str:
        return host_reports({"h1": MARK}, hold_s, MARK.claimed_at + after_s)["h1"].error_msg

    assert said(0) == said(LONGEST_PAUSE_S * 1.5) == said(hold_s - 1) == "Another machine."
    assert said(max(hold_s, 60.0)) == ""
