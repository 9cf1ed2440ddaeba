"""Whole machines that were captured: the entire program runs on each, and says what it said before.

`python -m tests.captured.make NAME` captures one anew; `git diff` then shows what changed.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from storekeeper.cli import run
from storekeeper.host.capture import Machine, load
from storekeeper.host.captured import CapturedHost
from storekeeper.observation import Disk, Ocfs2
from storekeeper.sources import SOURCES, disks, ocfs2
from storekeeper.sources.contract import Scope
from tests.captured.make import HERE, MACHINES, documents, folders, found_in

FOLDERS = folders()
LIMIT_BYTES = 300_000
HOST_SOURCES = [row.name for row in SOURCES.values() if row.of == "host"]
VOLUME_SOURCES = [row.name for row in SOURCES.values() if row.of == "volume"]


def volumes(name: str) -> set[str]:
    """The places of a captured machine at which its volumes were looked at."""
    return set(load(HERE / name).spaces)


def test_the_machines_that_can_be_made_anew_are_here() -> None:
    assert set(MACHINES) <= set(FOLDERS)


@pytest.mark.parametrize("name", FOLDERS)
def test_the_documents_of_a_machine_are_those_beside_it(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    golden = json.loads((HERE / name / "golden.json").read_bytes())
    assert golden.keys() == documents(HERE / name).keys()
    for storage_id, document in golden.items():
        assert run(["scan", storage_id, "--captured", str(HERE / name)]) == 0
        assert json.loads(capsys.readouterr().out) == document


@pytest.mark.parametrize("name", FOLDERS)
@pytest.mark.parametrize("source", HOST_SOURCES)
def test_a_source_of_the_whole_host_runs_by_itself(
    name: str, source: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["probe", source, "--captured", str(HERE / name)]) == 0
    assert not asked_in_vain(json.loads(capsys.readouterr().out))


@pytest.mark.parametrize("name", FOLDERS)
@pytest.mark.parametrize("source", VOLUME_SOURCES)
def test_a_source_of_volumes_runs_by_itself(
    name: str, source: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert volumes(name)
    for place in volumes(name):
        assert run(["probe", source, place, "--captured", str(HERE / name)]) == 0
        assert not asked_in_vain(json.loads(capsys.readouterr().out))


def asked_in_vain(seen: dict[str, object]) -> bool:
    """Whether a source asked what was not captured, or failed; a disk may say that it cannot be read."""
    return "not-captured" in json.dumps(seen) or "internal" in json.dumps(seen["faults"])


@pytest.mark.parametrize("name", FOLDERS)
def test_a_capture_is_small(name: str) -> None:
    assert sum(file.stat().st_size for file in (HERE / name).rglob("*") if file.is_file()) < LIMIT_BYTES


@pytest.mark.parametrize("name", MACHINES)
def test_a_capture_holds_no_name_of_its_machine(name: str) -> None:
    assert MACHINES[name].names
    assert found_in(HERE / name, MACHINES[name].names) == set()


def test_a_name_is_found_in_a_capture_in_any_form(tmp_path: Path) -> None:
    (tmp_path / "corus.json").touch()
    (tmp_path / "images.json").write_text(r'"%00W%00e%00b%00portal  x%FFflexdev01%00"', encoding="ascii")
    (tmp_path / "b.json").write_text("w%00e%00b%00p%00o%00r%00t%00a%00l%00 %80\udc80", errors="surrogatepass")
    names = ("corus", "webportal", "flexdev01", "opensuse")
    assert found_in(tmp_path, names) == {"corus", "webportal", "flexdev01"}


# --- the machine with encrypted images ------------------------------------------------------------

# Header, digest and salts of LUKS 1, and its slots' salts (LUKS1 On-Disk Format Specification, 2.3).
LUKS1_SECRETS = [(112, 52), *((208 + 48 * slot + 8, 32) for slot in range(8)), (592, 2 << 20)]
LUKS2_SECRETS = [(104, 64), (448, 64), (32768, 16 << 20)]  # salt, checksum, slots (LUKS2 ..., 2.1)


def captured_bytes(machine: Machine, image_id: str) -> dict[int, bytes]:
    """What was captured of an image, by offset."""
    return dict(machine.images["/images"][image_id].content.reads())


@pytest.mark.parametrize(
    ("image_id", "header", "secrets"),
    [
        ("secret/archive.luks", b"LUKS\xba\xbe\0\1", LUKS1_SECRETS),
        ("secret/laptop.luks", b"LUKS\xba\xbe\0\2", LUKS2_SECRETS),
    ],
)
def test_key_slots_salts_and_digests_of_an_encrypted_image_are_zero(
    image_id: str, header: bytes, secrets: list[tuple[int, int]]
) -> None:
    reads = captured_bytes(load(HERE / "libvirt-guests"), image_id)
    assert reads[0].startswith(header)
    for at, length in secrets:
        for offset, data in reads.items():
            start, end = max(at - offset, 0), max(at + length - offset, 0)
            assert not any(data[start:end])


def test_the_json_of_luks2_tells_where_its_payload_is_and_no_salt() -> None:
    reads = captured_bytes(load(HERE / "libvirt-guests"), "secret/laptop.luks")
    text = b"".join(reads.values())
    told = json.loads(text[text.index(b'{"keyslots"') :].split(b"\0", 1)[0])
    assert told["segments"]["0"]["offset"] == str(16 << 20)
    assert set(told["digests"]["0"]["digest"]) == set(told["digests"]["0"]["salt"]) == {"A"}
    assert set(told["keyslots"]["0"]["kdf"]["salt"]) == {"A"}


def test_of_an_encrypted_qcow2_its_header_is_captured_and_none_of_luks_secrets() -> None:
    (head,) = captured_bytes(load(HERE / "libvirt-guests"), "secret/vault.qcow2").values()
    assert head.startswith(b"QFI\xfb")
    at = head.find(b"LUKS\xba\xbe")
    assert at == -1 or not any(head[at + 112 : at + 164])


# --- the machine with SCSI disks ------------------------------------------------------------------


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
