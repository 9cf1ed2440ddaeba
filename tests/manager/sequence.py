"""The rules of sequence, and what they are told was applied."""

from __future__ import annotations

from storekeeper.database.steps import Mark
from storekeeper.manager import reports
from storekeeper.merge.hosts import HostReport
from storekeeper.report import Report


class Sequence:
    """Which report of each host was applied last."""

    def __init__(self) -> None:
        self._last: dict[str, Mark] = {}

    def is_new(self, report: Report) -> bool:
        nothing = Mark(host_id=report.host_id, report=HostReport(host_id=report.host_id))
        return reports.is_new(report, self._last.get(report.host_id, nothing))

    def applied(self, report: Report) -> None:
        said = HostReport(host_id=report.host_id, boot_id=report.boot_id)
        self._last[report.host_id] = Mark(
            host_id=report.host_id, run=report.run, number=report.number, report=said
        )
