"""`storekeeper hosts` and `storekeeper guests`: what they print."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_type_hints

import msgspec
import pytest

from storekeeper.cli import run
from storekeeper.declaration import ImageStorage
from storekeeper.document import GuestBasicInfo, HostInfo
from storekeeper.errors import EXIT_FINE
from storekeeper.merge.hosts import HostReport, Known
from storekeeper.merge.truth import HostView, Look
from storekeeper.observation import Fact, Guest, Machine, Seen
from tests.api.standin import SEEN_AT, StandIn, knows, served

HOSTS = """\
HOST  STATE    STORAGES  ADDRESS    AGENT  CORES  REPORTED
h1    running  internal  192.0.2.1  1.2.3      8  2026-01-02
h2    unknown  internal  -          -          -  -
h2: No report from h2 yet.
"""
GUESTS = """\
GUEST  TYPE    STATE    HOST
corus  normal  running  h1
idle   normal  stopped  -
"""


def look(source: str, *facts: Fact) -> Look:
    seen = Seen(source=source, scope="", facts={fact.key: fact for fact in facts})
    return Look(seen=seen, at=SEEN_AT, good_at=SEEN_AT)


class Counting(StandIn):
    """Counts how often it is asked what the hosts told."""

    asked = 0

    def known(self) -> Known:
        self.asked += 1
        return super().known()


def test_however_many_hosts_there_are_they_are_asked_for_once() -> None:
    manager = Counting()
    manager.knows = knows(
        ImageStorage(image_storage_id="internal", hosts=tuple(f"h{n}" for n in range(100)), volumes=())
    )
    with served(manager) as url:
        assert run(["hosts", "--manager", url]) == EXIT_FINE
    assert manager.asked == 1


@pytest.fixture(scope="module")
def two_hosts() -> Iterator[str]:
    """The URL of a manager of two hosts, one of which has reported, with two guests."""
    machine = Machine(
        key="machine", cpu_type="x", physical_cores=8, physical_ram_bytes=1 << 30, hypervisor="", kernel=""
    )
    corus = Guest(key="corus", unique_id="1", state="running", persistent=True, disks=())
    idle = Guest(key="idle", unique_id="2", state="stopped", persistent=True, disks=())
    looks = {("guests", ""): look("guests", corus, idle), ("machine", ""): look("machine", machine)}
    manager = StandIn()
    manager.knows = knows(
        ImageStorage(image_storage_id="internal", hosts=("h1", "h2"), volumes=()),
        views={"h1": HostView(host_id="h1", looks=looks, reported_at=SEEN_AT)},
        reports={"h1": HostReport(host_id="h1", version="1.2.3", address="192.0.2.1")},
    )
    with served(manager) as url:
        yield url


@pytest.mark.parametrize(("command", "printed"), [("hosts", HOSTS), ("guests", GUESTS)])
def test_a_person_reads_a_table(
    two_hosts: str, capsys: pytest.CaptureFixture[str], command: str, printed: str
) -> None:
    assert run([command, "--manager", two_hosts]) == EXIT_FINE
    assert capsys.readouterr().out == printed


@pytest.mark.parametrize(("command", "row"), [("hosts", HostInfo), ("guests", GuestBasicInfo)])
def test_a_program_reads_all_fields(
    two_hosts: str, capsys: pytest.CaptureFixture[str], command: str, row: type[msgspec.Struct]
) -> None:
    assert run([command, "--json", "--manager", two_hosts]) == EXIT_FINE
    rows = msgspec.json.decode(capsys.readouterr().out)
    assert len(rows) == 2
    assert list(rows[0]) == list(get_type_hints(row))


@pytest.mark.parametrize("command", ["hosts", "guests"])
def test_the_columns_are_told_without_a_manager(capsys: pytest.CaptureFixture[str], command: str) -> None:
    assert run([command, "--columns", "help", "--manager", "http://127.0.0.1:1"]) == EXIT_FINE
    assert "state" in capsys.readouterr().out
