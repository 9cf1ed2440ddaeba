"""Our ids against scsi_id itself, for pages that no disk at hand sends.

scsi_id runs as it is; only the disk's answers to INQUIRY are ours (scsi_answers.c).
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storekeeper.sources.disk_ids import Inquiry, scsi_id

pytestmark = pytest.mark.needs("cc", "scsi_id")

SCSI_ID = "/lib/udev/scsi_id"
PAGE_LIMIT = 250  # scsi_id reads its own stack behind what it asked for

letters = st.text("abcAB 019._:/\\x\t%é中", min_size=1, max_size=40).map(str.encode)
printable = letters.filter(lambda text: bool(text.strip()))
binary = st.binary(min_size=1, max_size=140)
naa = st.tuples(st.sampled_from([0x20, 0x30, 0x50, 0x60]), st.binary(min_size=7, max_size=15)).map(
    lambda parts: bytes([parts[0]]) + parts[1]
)


@st.composite
def descriptors(draw: st.DrawFn) -> bytes:
    """One identification descriptor, sound or with odd values in its fields."""
    kind = draw(st.sampled_from([0, 1, 2, 3, 3, 3, 4, 5, 8]))
    code_set = draw(st.sampled_from([1, 1, 2, 2, 3]))
    identifier = draw(printable if code_set > 1 else naa if kind == 3 else binary)
    association = draw(st.sampled_from([0, 0, 0, 1, 2]))
    return bytes([code_set, association << 4 | kind, 0, len(identifier)]) + identifier


@st.composite
def inquiries(draw: st.DrawFn) -> Inquiry:
    body = draw(
        st.lists(descriptors(), max_size=4).map(b"".join).filter(lambda page: len(page) <= PAGE_LIMIT)
    )
    page_83 = b"\0\x83" + len(body).to_bytes(2, "big") + body
    serial = draw(printable)
    return Inquiry(
        page_83=draw(st.sampled_from([page_83, page_83, page_83, b""])),
        page_80=draw(st.sampled_from([bytes([0, 0x80, 0, len(serial)]) + serial, b""])),
        vendor=draw(st.sampled_from([b"ATA     ", b"My Ven  ", b"A  B  C "])),
        model=draw(st.sampled_from([b"Samsung         ", b"QEMU HARDDISK   ", b"  x             "])),
    )


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    library = tmp_path_factory.mktemp("scsi_id") / "scsi_answers.so"
    source = Path(__file__).with_name("scsi_answers.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
    return library


def printed(answers: Path, inquiry: Inquiry) -> str:
    pages = {"80": inquiry.page_80, "83": inquiry.page_83}
    known = bytes(int(number, 16) for number, page in pages.items() if page)
    environment = {
        "LD_PRELOAD": str(answers),
        "INQUIRY": (bytes(8) + inquiry.vendor + inquiry.model + b"1.0 ").ljust(96, b"\0").hex(),
        "PAGE_00": (bytes([0, 0, 0, len(known)]) + known).hex(),
        **{f"PAGE_{number}": page.hex() for number, page in pages.items() if page},
    }
    done = subprocess.run(
        [SCSI_ID, "-g", "-u", "/dev/null"], env=environment, capture_output=True, check=False
    )
    return done.stdout.decode("utf-8", "surrogateescape").rstrip("\n")


def test_the_answers_reach_scsi_id(answers: Path) -> None:
    page = bytes.fromhex("0083000c01030008500253887013e77e")
    assert printed(answers, Inquiry(page, b"", b"ATA     ", b"Samsung         ")) == "3500253887013e77e"


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(inquiry=inquiries())
def test_every_id_is_what_scsi_id_prints(answers: Path, inquiry: Inquiry) -> None:
    assert scsi_id(inquiry) == printed(answers, inquiry)
