"""What blkid says, and when it may be believed. Answers are from util-linux 2.38 on real disks."""

from __future__ import annotations

import pytest

from storekeeper.errors import TimedOut, ToolFailed, ToolMissing, Unreadable
from storekeeper.observation import Use
from storekeeper.sources.contract import Output
from storekeeper.sources.signatures import Signatures, look, parse
from tests.sources.paper_host import PaperHost

OCFS2 = b"""DEVNAME=/dev/sdb
LABEL=samsung_ssd
UUID=1652669f-19d9-45ca-93a2-43e6c7ad80c4
VERSION=0.90
BLOCK_SIZE=4096
TYPE=ocfs2
USAGE=filesystem
"""
GPT = b"DEVNAME=/dev/sdb\nPTUUID=9e2bb5b3-7c09-4a1c-8d58-0e1f0a1b2c3d\nPTTYPE=gpt\n"
LVM = b"DEVNAME=/dev/sdb\nUUID=0aXYq1-2b3c\nVERSION=LVM2 001\nTYPE=LVM2_member\nUSAGE=raid\n"
RAID = b"DEVNAME=/dev/sdb\nUUID=1-2\nTYPE=linux_raid_member\nUSAGE=raid\n"
LUKS = b"DEVNAME=/dev/sdb\nUUID=7b\nTYPE=crypto_LUKS\nUSAGE=crypto\n"
SWAP = b"DEVNAME=/dev/sdb\nUUID=7c\nTYPE=swap\nUSAGE=other\n"

ASK = ("blkid", "-p", "-o", "export", "/dev/sdb")
NOTHING = Output(2, b"", b"")


def kinds(found: Signatures) -> list[str]:
    return [use.kind for use in found.uses]


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (OCFS2, "filesystem"),
        (GPT, "partition-table"),
        (LVM, "lvm"),
        (RAID, "raid"),
        (LUKS, "signature"),
        (SWAP, "signature"),
    ],
)
def test_each_signature_is_a_use(said: bytes, kind: str) -> None:
    assert kinds(parse(Output(0, said, b""), "/dev/sdb")) == [kind]


def test_a_filesystem_on_the_whole_disk_is_named() -> None:
    assert parse(Output(0, OCFS2, b""), "/dev/sdb") == Signatures(
        (Use("filesystem", "ocfs2 filesystem"),), "1652669f-19d9-45ca-93a2-43e6c7ad80c4", "ocfs2"
    )


def test_only_a_filesystem_has_a_filesystems_uuid() -> None:
    assert parse(Output(0, LVM, b""), "/dev/sdb")[1:] == ("", "")


def test_signatures_that_exclude_each_other_are_a_use() -> None:
    said = Output(8, b"", b"blkid: /dev/sdb: ambivalent result (probably more filesystems on the device)\n")
    assert kinds(parse(said, "/dev/sdb")) == ["signature"]


def test_a_signature_without_a_known_name_is_still_a_use() -> None:
    assert kinds(parse(Output(0, b"DEVNAME=/dev/sdb\nPART_ENTRY_NUMBER=1\n", b""), "/dev/sdb")) == [
        "signature"
    ]


@pytest.mark.parametrize(
    "said",
    [
        Output(2, b"", b"blkid: error: /dev/sdb: Permission denied\n"),
        Output(4, b"", b""),
        Output(-9, b"", b""),
    ],
)
def test_a_failing_blkid_is_an_error_never_an_empty_disk(said: Output) -> None:
    with pytest.raises(ToolFailed):
        parse(said, "/dev/sdb")


def test_a_disk_is_empty_only_when_both_its_ends_can_be_read() -> None:
    host = PaperHost({}, programs={ASK: NOTHING})
    assert look(host, "/dev/sdb", 1 << 20) == Signatures()
    assert host.block_reads == [("/dev/sdb", 0, 4096), ("/dev/sdb", (1 << 20) - 4096, 4096)]


def test_a_disk_that_answers_every_read_with_an_error_is_not_empty_though_blkid_says_so() -> None:
    host = PaperHost(
        {}, programs={ASK: NOTHING}, devices={"/dev/sdb": Unreadable("/dev/sdb", "Input/output error")}
    )
    with pytest.raises(Unreadable):
        look(host, "/dev/sdb", 1 << 20)


def test_a_disk_without_a_medium_is_not_asked() -> None:
    with pytest.raises(Unreadable):
        look(PaperHost({}), "/dev/sdb", 0)


@pytest.mark.parametrize("error", [TimedOut("blkid", "no answer"), ToolMissing("blkid", "not installed")])
def test_no_answer_is_an_error(error: TimedOut | ToolMissing) -> None:
    with pytest.raises(type(error)):
        look(PaperHost({}, programs={ASK: error}), "/dev/sdb", 1 << 20)
