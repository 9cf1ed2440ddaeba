"""Stand-ins: every name and address of a capture is replaced by the same other one, wherever it stands."""

from __future__ import annotations

import subprocess
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storekeeper.host.capture import BlockRead, Command, Machine, content_of, load
from storekeeper.host.captured import CapturedHost
from storekeeper.host.key_slots import without_key_slots
from storekeeper.host.real import RealHost
from storekeeper.host.recording import RecordingHost
from storekeeper.host.stand_ins import StandIns, stand_ins_for, with_stand_ins
from storekeeper.observation import Image
from storekeeper.sources import SOURCES
from storekeeper.sources.contract import Domain, Scope


def test_a_name_is_replaced_as_a_whole_token_by_one_of_its_length() -> None:
    stand_ins = StandIns(hosts=["flexdev01"], guests=["corus"])
    assert stand_ins.text("flexdev01:/data/brick1") == "host00001:/data/brick1"
    assert stand_ins.text("/vm/corus_demo_corus.qcow2") == "/vm/gues1_demo_gues1.qcow2"
    assert stand_ins.text("flexdev012 chorus corusX") == "flexdev012 chorus corusX"
    assert stand_ins.binary(b"\0corus\0") == b"\0gues1\0"
    assert stand_ins.binary("\\corus.vhd".encode("utf-16-le")) == "\\gues1.vhd".encode("utf-16-le")
    assert stand_ins.binary("/corus.vhd".encode("utf-16-be")) == "/gues1.vhd".encode("utf-16-be")


def test_words_that_formats_need_and_mere_numbers_are_left_alone() -> None:
    stand_ins = StandIns(guests=["disk", "100", "vm", "name"])
    text = "<disk><name>100</name> vm"
    assert stand_ins.text(text) == text


def test_two_names_never_get_the_same_stand_in_nor_one_that_is_a_name() -> None:
    names = [f"{letter}{other}c" for letter in "abcdefghij" for other in "abcdefghijkl"] + ["gu1", "g10"]
    stand_ins = StandIns(guests=names)
    replaced = [stand_ins.text(name) for name in names]
    assert len(set(replaced)) == len(names)
    assert not set(replaced) & set(names)
    assert all(len(one) == 3 for one in replaced)


@pytest.mark.parametrize(
    "address", ["10.77.0.1", "192.168.100.200", "fe80::1:2ff", "2001:db8::17", "52:54:00:12:ab:cd"]
)
def test_an_address_is_replaced_by_one_of_its_kind_the_same_each_time(address: str) -> None:
    stand_ins = StandIns()
    first = stand_ins.text(f"at {address}, port 1")
    assert address not in first
    assert len(first) == len(f"at {address}, port 1")
    assert stand_ins.text(f"at {address}, port 1") == first


@pytest.mark.parametrize(
    "text", ["127.0.0.1", "0.0.0.0", "0:0:0:0", "02:35:08", "5.10.0", "0000:00:1f.2", "999.1.1.1"]
)
def test_what_is_no_address_of_anyone_stays(text: str) -> None:
    assert StandIns().text(text) == text


def test_a_uuid_is_replaced_in_each_of_its_forms() -> None:
    uuid = UUID("3d3f1e0a-9c1b-4f8e-8a4e-2b7c5d6e7f80")
    stand_ins = StandIns()
    replaced = UUID(stand_ins.text(str(uuid)))
    assert replaced != uuid
    assert stand_ins.text(uuid.hex.upper()) == replaced.hex.upper()
    assert stand_ins.device(b"\0\1" + uuid.bytes) == b"\0\1" + replaced.bytes
    assert stand_ins.text(str(UUID(int=0))) == str(UUID(int=0))


@pytest.mark.parametrize(
    ("text", "replaced"),
    [
        (
            "//nas/x /mnt cifs user=a,password=hunter2,vers=3",
            "//nas/x /mnt cifs user=a,password=xxxxxxx,vers=3",
        ),
        ("https://me:pw@server/x.iso", "https://xxxxx@server/x.iso"),
        ("rbd:pool/image:id=a:key=AQB==", "rbd:pool/image:id=a:key=xxxxx"),
    ],
)
def test_passwords_and_keys_become_x(text: str, replaced: str) -> None:
    assert StandIns().text(text) == replaced


@given(st.binary(max_size=200))
def test_stand_ins_keep_every_length(data: bytes) -> None:
    stand_ins = StandIns(hosts=["abc"], guests=["0ab", "a-b"])
    assert len(stand_ins.device(data)) == len(data)


def machine() -> Machine:
    fstab = b"nas01:/export /mnt/vm nfs rw\n//cifs02/share /mnt/c cifs rw\n10.1.2.3:/x /y nfs\n"
    return Machine(
        name="flexdev01.example.com",
        captured_at=1.0,
        files={"/etc/fstab": fstab, "/sys/block/sda/device/serial": b"S4EVNF0M\n"},
        commands={
            "run gluster": Command(
                ["gluster"], 0, "<hostname>flexnuc2</hostname> flexdev02:/data/b S4EVNF0M corus", "corus: no"
            )
        },
        names={"/vm/flexdev01": ("corus", "corus.qcow2")},
        domains={
            "": [Domain("corus", "3d3f1e0a-9c1b-4f8e-8a4e-2b7c5d6e7f80", 1, True, "", "<name>corus</name>")]
        },
        blocks={
            "/dev/sda": [
                BlockRead(
                    0, 100, False, 100,
                    content_of([(0, UUID("3d3f1e0a-9c1b-4f8e-8a4e-2b7c5d6e7f80").bytes.ljust(100, b"\0"))]),
                )
            ]
        },
    )  # fmt: skip


def test_no_name_of_a_machine_is_left_in_its_capture() -> None:
    original = machine()
    replaced = with_stand_ins(original, stand_ins_for(original))
    left = repr(replaced)
    for name in (
        "flexdev01",
        "example",
        "flexdev02",
        "flexnuc2",
        "nas01",
        "cifs02",
        "corus",
        "S4EVNF0M",
        "10.1.2.3",
    ):
        assert name not in left
    assert "3d3f1e0a" not in left
    assert original == machine()


def test_a_name_is_the_same_in_every_part_of_a_capture() -> None:
    original = machine()
    replaced = with_stand_ins(original, stand_ins_for(original))
    guest = replaced.domains[""][0]
    assert replaced.commands["run gluster"].err == f"{guest.name}: no"
    assert list(replaced.names.values()) == [(guest.name, f"{guest.name}.qcow2")]
    assert guest.persistent_xml == f"<name>{guest.name}</name>"
    content = replaced.blocks["/dev/sda"][0].content
    assert content.at(0, 16) == UUID(guest.unique_id).bytes


@pytest.mark.needs("qemu-img")
def test_images_whose_headers_name_a_guest_are_seen_as_before(tmp_path: Path) -> None:
    root = tmp_path / "volume"
    root.mkdir()
    create = ["qemu-img", "create", "-q"]
    for kind, name in (("qcow2", "corus.qcow2"), ("vpc", "corus.vhd"), ("vhdx", "corus.vhdx")):
        subprocess.run([*create, "-f", kind, root / name, "10M"], check=True)
    for kind in ("qcow2", "vmdk", "qed"):
        parent = root / f"corus.{'qcow2' if kind == 'qcow2' else kind}"
        if not parent.exists():
            subprocess.run([*create, "-f", kind, parent, "10M"], check=True)
        backing = ["-b", str(parent), "-F", kind]
        subprocess.run([*create, "-f", kind, *backing, root / f"corus_clone.{kind}"], check=True)
    recording = RecordingHost(RealHost())
    scope = Scope(key="storage/volume", root=str(root))
    seen = SOURCES["images"].probe(recording, scope, None)
    stand_ins = recording.save(tmp_path / "capture", stand_ins=StandIns(guests=["corus"]))
    again = SOURCES["images"].probe(CapturedHost.load(tmp_path / "capture"), scope, None)
    assert "corus" not in repr(load(tmp_path / "capture"))
    assert again.faults == seen.faults
    assert set(again.facts) == {stand_ins.text(key) for key in seen.facts}
    for key, fact in seen.facts.items():
        other = again.facts[stand_ins.text(key)]
        assert isinstance(fact, Image)
        assert isinstance(other, Image)
        assert other.header.faults == fact.header.faults
        assert (other.header.format, other.header.virtual_bytes) == (
            fact.header.format,
            fact.header.virtual_bytes,
        )
        assert (other.header.parent is None) == (fact.header.parent is None)


def create_encrypted(file: Path, kind: str, options: str) -> None:
    """An image that qemu-img encrypts. It measures how fast it derives a key; now and then that is too
    fast for it, and it fails.
    """
    secret = ["--object", "secret,id=s,data=abc"]
    create = ["qemu-img", "create", "-q", "-f", kind, *secret, "-o", options, str(file), "10M"]
    assert any(subprocess.run(create, check=False, capture_output=True).returncode == 0 for _ in range(20))


@pytest.mark.needs("qemu-img")
def test_the_key_slots_of_a_luks_image_are_zeroed_and_its_size_is_still_read(tmp_path: Path) -> None:
    create_encrypted(tmp_path / "a.luks", "luks", "key-secret=s,iter-time=10")
    raw = (tmp_path / "a.luks").read_bytes()
    (kept,) = without_key_slots([(0, raw)])
    for at, length in ((112, 52), (208 + 8, 32), (592, 4096)):
        assert any(raw[at : at + length])
        assert not any(kept[1][at : at + length])
    assert kept[1][:112] == raw[:112]
    assert kept[1][168:208] == raw[168:208]
    assert len(kept[1]) == len(raw)


@pytest.mark.needs("qemu-img")
def test_a_luks_header_inside_a_qcow2_is_found(tmp_path: Path) -> None:
    create_encrypted(tmp_path / "a", "qcow2", "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10")
    raw = (tmp_path / "a").read_bytes()
    at = raw.index(b"LUKS\xba\xbe")
    assert at > 0
    (kept,) = without_key_slots([(0, raw)])
    assert not any(kept[1][at + 112 : at + 164])
    assert kept[1][:at] == raw[:at]


def test_salts_and_digests_in_a_luks2_header_s_json_are_replaced() -> None:
    header = bytearray(b"LUKS\xba\xbe\0\2" + (16384).to_bytes(8, "big")).ljust(4096, b"\0")
    header[104:168] = b"s" * 64
    json = (
        b'{"keyslots":{"0":{"kdf":{"salt":"c2FsdA=="}}},"digests":{"0":{"digest":"ZGln", "salt":"eA=="}},'
        b'"tokens":{"0":{"type":"clevis","jwe":{"encrypted_key":"eyJhbGciOiJkaXIiLCJjbGV2"}}}}'
    )
    kept = without_key_slots([(0, bytes(header)), (4096, json), (32768, b"key material")])
    assert not any(kept[0][1][104:168])
    assert b"c2FsdA" not in kept[1][1]
    assert b"ZGln" not in kept[1][1]
    assert b"eyJhbGci" not in kept[1][1]
    assert b'"digests":{"0"' in kept[1][1]
    assert kept[2] == (32768, bytes(12))
