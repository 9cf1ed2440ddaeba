"""What is mounted and what should be: mountinfo, fstab, units."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storekeeper.errors import Denied
from storekeeper.naming import escape
from storekeeper.observation import DeclaredMount, Mount
from storekeeper.sources import mountinfo, mounts
from storekeeper.sources.contract import Scope
from tests.sources.paper_host import PaperHost

# Captured: an NFS, a bind mount of a directory, a shared mount with two optional fields.
MOUNTINFO = b"""\
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
36 27 0:30 / /home/flexvdi rw,relatime shared:13 master:2 - nfs4 nas:/export/flexvdi rw,vers=4.2,hard
40 27 254:0 /srv/images /var/lib/libvirt/images rw,relatime - ext4 /dev/vda rw,discard
41 27 0:31 / /mnt/with\\040blank\\134 ro,nosuid - fuse.glusterfs flexdev01:/test_vol1 rw,user_id=0
"""
FSTAB = b"""\
# <file system> <mount point> <type> <options> <dump> <pass>
UUID=0a3407de-014b-458b-b5c1-848e92a327a3 / ext4 errors=remount-ro 0 1

nas:/export/flexvdi\t/home/flexvdi/  nfs4  noauto,_netdev
/dev/sdb1 none swap sw 0 0
LABEL=with\\040blank /mnt//with\\040blank xfs defaults
broken line
"""
UNIT = b"""\
[Unit]
Description=Where=/not/here
[Mount]
# What=/dev/none
What=nas:/export/\\
iso
Where=/srv/iso/
Type = nfs
[Install]
WantedBy=remote-fs.target
"""

words = st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1).map(
    str.encode
) | st.binary(min_size=1).filter(lambda word: b"\0" not in word)


def mangled(word: bytes) -> bytes:
    """As the kernel writes a word (fs/seq_file.c, mangle_path with " \\t\\n\\\\")."""
    return re.sub(rb"[ \t\n\\]", lambda match: b"\\%03o" % match[0][0], word)


def fstab_word(word: bytes) -> bytes:
    """A word as fstab(5) wants it; a carriage return there is an editor's, and has to be escaped too."""
    return mangled(word).replace(b"\r", b"\\015")


def test_a_line_of_mountinfo_is_read_whole() -> None:
    found = mountinfo.parse(MOUNTINFO)
    assert [mount.key for mount in found] == ["27", "36", "40", "41"]
    assert found[1] == Mount(
        key="36", parent="27", device_number="0:30", root="/", mount_point="/home/flexvdi",
        options=("rw", "relatime"), filesystem_type="nfs4", source="nas:/export/flexvdi",
        super_options=("rw", "vers=4.2", "hard"),
    )  # fmt: skip
    assert found[2].root == "/srv/images"
    assert found[3].mount_point == "/mnt/with blank\\"


@given(place=words, root=words, source=words)
def test_names_with_anything_in_them_do_not_break_a_line_of_mountinfo(
    place: bytes, root: bytes, source: bytes
) -> None:
    line = b"36 27 0:30 /%s /%s rw - nfs %s rw\n" % (mangled(root), mangled(place), mangled(source))
    found = mountinfo.parse(line + MOUNTINFO)
    assert len(found) == 5
    assert (found[0].root, found[0].mount_point, found[0].source) == (
        escape(b"/" + root), escape(b"/" + place), escape(source),
    )  # fmt: skip


@given(st.binary())
def test_no_bytes_break_the_parsers(junk: bytes) -> None:
    assert all(mount.key for mount in mountinfo.parse(junk))
    assert all(row.key.startswith("/") for row in mounts.parse_fstab(junk))
    unit = mounts.parse_unit(b"[Mount]\n" + junk, "/etc/systemd/system/x.mount")
    assert unit is None or unit.key.startswith("/")


def test_fstab_says_what_is_to_be_mounted_where() -> None:
    assert mounts.parse_fstab(FSTAB) == [
        DeclaredMount(
            key="/", source="UUID=0a3407de-014b-458b-b5c1-848e92a327a3", filesystem_type="ext4",
            declared_in="/etc/fstab",
        ),
        DeclaredMount(
            key="/home/flexvdi", source="nas:/export/flexvdi", filesystem_type="nfs4",
            declared_in="/etc/fstab",
        ),
        DeclaredMount(
            key="/mnt/with blank", source="LABEL=with blank", filesystem_type="xfs", declared_in="/etc/fstab"
        ),
    ]  # fmt: skip


@given(place=words, source=words)
def test_any_place_can_stand_in_fstab(place: bytes, source: bytes) -> None:
    (row,) = mounts.parse_fstab(b"x%s /%s nfs defaults" % (fstab_word(source), fstab_word(place)))
    assert row.source == escape(b"x" + source)
    assert row.key == (re.sub("/+", "/", "/" + escape(place)).rstrip("/") or "/")


def test_a_unit_says_what_is_to_be_mounted_where() -> None:
    assert mounts.parse_unit(UNIT, "/etc/systemd/system/srv-iso.mount") == DeclaredMount(
        key="/srv/iso", source="nas:/export/ iso", filesystem_type="nfs",
        declared_in="/etc/systemd/system/srv-iso.mount",
    )  # fmt: skip
    assert mounts.parse_unit(b"[Automount]\nWhere=/srv/iso\n", "x") == DeclaredMount(
        key="/srv/iso", source="", filesystem_type="", declared_in="x"
    )
    assert mounts.parse_unit(b"[Unit]\nWhere=/srv/iso\n", "x") is None


def test_units_go_before_fstab_and_etc_before_run_and_a_masked_unit_is_none() -> None:
    host = PaperHost(
        {
            "/proc/self/mountinfo": MOUNTINFO,
            "/etc/fstab": b"one:/a /a nfs\ntwo:/b /b nfs\n",
            "/etc/systemd/system/a.mount": b"[Mount]\nWhat=etc:/a\nWhere=/a\n",
            "/etc/systemd/system/c.automount": b"[Automount]\nWhere=/c\n",
            "/etc/systemd/system/c.mount": b"[Mount]\nWhat=etc:/c\nWhere=/c\n",
            "/etc/systemd/system/other.service": b"[Mount]\nWhat=no\nWhere=/no\n",
            "/run/systemd/system/a.mount": b"[Mount]\nWhat=run:/a\nWhere=/a\n",
            "/run/systemd/system/d.mount": b"[Mount]\nWhat=run:/d\nWhere=/d\n",
        },
        links={"/etc/systemd/system/d.mount": "/dev/null"},
    )
    seen = mounts.probe(host, Scope(), None)
    assert seen.faults == ()
    declared = {fact.key: fact.source for fact in seen.facts.values() if isinstance(fact, DeclaredMount)}
    assert declared == {"/a": "etc:/a", "/b": "two:/b", "/c": "etc:/c"}
    assert {"27", "36", "40", "41"} < seen.facts.keys()


def test_without_mountinfo_nothing_is_known() -> None:
    seen = mounts.probe(PaperHost({}), Scope(), None)
    assert seen.blind is not None


def test_an_unreadable_fstab_hides_what_is_declared_and_no_more() -> None:
    host = PaperHost({"/proc/self/mountinfo": MOUNTINFO, "/etc/fstab": Denied("/etc/fstab", "no right")})
    seen = mounts.probe(host, Scope(), None)
    assert [(fault.code, fault.hides) for fault in seen.faults] == [("denied", "/")]
    assert len(seen.facts) == 4


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("/", "27"),
        ("/home", "27"),
        ("/home/flexvdi/a/b", "36"),
        ("/home/flexvdi2", "27"),
        ("/home/flexvdi", "36"),
    ],
)
def test_the_covering_mount_is_the_nearest_above(path: str, key: str) -> None:
    found = mounts.covering(mountinfo.parse(MOUNTINFO), path)
    assert found is not None
    assert found.key == key


def test_of_mounts_over_one_another_the_last_one_covers_and_hides_those_below() -> None:
    table = mountinfo.parse(
        b"1 0 8:1 / / rw - ext4 /dev/sda1 rw\n"
        b"2 1 0:2 / /a/b rw - nfs old:/b rw\n"
        b"3 1 0:3 / /a rw - tmpfs tmpfs rw\n"
        b"4 3 0:4 / /a rw - tmpfs tmpfs rw\n"
        b"5 4 0:5 / /a/c rw - tmpfs tmpfs rw\n"
    )
    assert [getattr(mounts.covering(table, path), "key", "") for path in ("/a/b", "/a", "/a/c/d", "/b")] == [
        "4", "4", "5", "1",
    ]  # fmt: skip
    assert mounts.covering([], "/a") is None


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6), st.sampled_from(["/", "/a", "/a/b", "/c"]))))
def test_no_table_makes_the_covering_mount_be_sought_for_ever(rows: list[tuple[int, int, str]]) -> None:
    table = mountinfo.parse(
        b"".join(
            b"%d %d 0:1 / %s rw - x y rw\n" % (key, parent, place.encode()) for key, parent, place in rows
        )
    )
    found = mounts.covering(table, "/a/b/c")
    assert found is None or mounts.lies_in("/a/b/c", found.mount_point)
