"""Whole machines that were captured: the entire program runs on each, and says what it said before.

`python -m tests.captured.make NAME` captures one anew; `git diff` then shows what changed.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from storekeeper.cli import run
from storekeeper.host.captured import CapturedHost
from storekeeper.observation import Disk, Ocfs2
from storekeeper.sources import SOURCES, disks, ocfs2
from storekeeper.sources.contract import Scope

HERE = Path(__file__).parent
MACHINES = sorted(folder.parent.name for folder in HERE.glob("*/capture.json"))


def test_there_are_machines() -> None:
    assert MACHINES


@pytest.mark.parametrize("name", MACHINES)
def test_the_document_of_a_machine_is_the_one_beside_it(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["scan", "--captured", str(HERE / name)]) == 0
    golden = json.loads((HERE / name / "document.json").read_bytes())
    assert json.loads(capsys.readouterr().out) == golden


@pytest.mark.parametrize("name", MACHINES)
@pytest.mark.parametrize("source", [row.name for row in SOURCES.values() if row.of == "host"])
def test_no_source_asks_what_was_not_captured(name: str, source: str) -> None:
    seen = SOURCES[source].probe(CapturedHost.load(HERE / name), Scope(), None)
    assert "not-captured" not in {fault.code for fault in seen.faults}


def scsi_disks() -> dict[str, Disk]:
    seen = disks.probe(CapturedHost.load(HERE / "scsi-ocfs2"), Scope(), None)
    return {fact.physical_disk_id: fact for fact in seen.facts.values() if isinstance(fact, Disk)}


def test_scsi_disks_have_their_ids_and_uses() -> None:
    told = scsi_disks()
    uses = {disk_id: [use.kind for use in told[disk_id].uses] for disk_id in told}
    assert uses["3500253887013e77e"] == ["filesystem", "mounted"]
    assert uses["35000c50015ea71aa"] == ["signature", "swap"]
    assert uses["1ATA_QEMU_HARDDISK_ext4"] == ["filesystem"]
    assert uses["35000c50015ea71ee"] == ["unreadable"]
    assert uses["35000c50015ea71bb"] == []
    assert told["35000c50015ea71bb"].paths


def test_the_mounted_ocfs2_lies_on_its_disk_and_beats() -> None:
    seen = ocfs2.probe(CapturedHost.load(HERE / "scsi-ocfs2"), Scope(), None)
    (mounted,) = (fact for fact in seen.facts.values() if isinstance(fact, Ocfs2) and fact.mounted_at)
    assert mounted.device_number in scsi_disks()["3500253887013e77e"].device_numbers
    assert mounted.heartbeat_active is True
    assert mounted.cluster_name == "flexcluster"
