"""One volume's place: what is mounted there, which filesystem it is, its space, whether it can be read.

Superblocks: Linux fs/xfs/libxfs/xfs_format.h (xfs_dsb), fs/ext4/ext4.h (ext4_super_block),
include/uapi/linux/btrfs_tree.h (btrfs_super_block), fs/ocfs2/ocfs2_fs.h.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from uuid import UUID

from msgspec import Struct

from storekeeper.errors import Denied, HostError
from storekeeper.naming import escape
from storekeeper.observation import UNKNOWN, Fact, Fault, Mount, Seen, Space
from storekeeper.sources import ocfs2
from storekeeper.sources.block_devices import node
from storekeeper.sources.contract import FilesystemSpace, Host, Scope, facts_by_key, fault_of
from storekeeper.sources.mounts import declared_mounts, lies_in, mounted
from storekeeper.sources.standing import Standing, resolved, standing

_NFS = frozenset({"nfs", "nfs4"})
_CIFS = frozenset({"cifs", "smb3"})
GLUSTER = "fuse.glusterfs"


class _Superblock(Struct, frozen=True):
    """Where a filesystem keeps its UUID: offsets in the superblock, which begins at `at`."""

    at: int
    magic_offset: int
    magic: bytes
    uuid_offset: int


_EXT = _Superblock(1024, 56, b"\x53\xef", 104)
_SUPERBLOCKS = {
    "xfs": _Superblock(0, 0, b"XFSB", 32),
    "ext2": _EXT,
    "ext3": _EXT,
    "ext4": _EXT,
    "btrfs": _Superblock(65536, 64, b"_BHRfS_M", 32),
}
_SUPERBLOCK_BYTES = 1024
# Filesystems that have an identity; and what waits to mount one, which tells nothing of it.
IDENTIFIED = frozenset({*_NFS, *_CIFS, *_SUPERBLOCKS, GLUSTER, "ocfs2", "autofs"})


def probe(host: Host, scope: Scope, last: Seen | None) -> Seen:  # noqa: ARG001
    """What stands at the scope's root. A place that is absent, no directory, not mounted or does not
    answer is seen, not a fault; a fault is what this process may not look at.
    """
    started = time.monotonic()
    facts: list[Fact] = []
    faults: tuple[Fault, ...] = ()
    try:
        facts.append(_look(host, scope))
    except HostError as error:
        faults = (fault_of(error, "*"),)
    return Seen(
        source="space", scope=scope.key, facts=facts_by_key(facts), faults=faults,
        took_s=time.monotonic() - started,
    )  # fmt: skip


def _look(host: Host, scope: Scope) -> Space:
    started = time.monotonic()
    declared, _ = declared_mounts(host)
    mounts = mounted(host)
    here = standing(mounts, declared, scope, resolved(host, mounts, scope.root))
    if here.mount is not None and here.mount.filesystem_type == "autofs":
        host.space(scope.root)  # makes systemd mount it
        mounts = mounted(host)
        here = standing(mounts, declared, scope, here.path)
    exists, read_fault = True, None
    told: FilesystemSpace | None = None
    try:
        exists = host.kind(scope.root) == "directory"
        if exists and not here.missing:
            told = host.space(scope.root)
            read_fault = _read_fault(host, scope.root, here.mount)
    except Denied:
        raise
    except HostError as error:
        read_fault = fault_of(error)
    mount = here.mount
    options = {*mount.options, *mount.super_options} if mount is not None else set()
    return Space(
        key=scope.key, path=escape(scope.root), exists=exists, is_mount_point=here.is_mount_point,
        mount=mount, must_be_mount=here.must_be_mount,
        filesystem_id=filesystem_id(host, mount) if mount is not None and not here.missing else "",
        total_bytes=told.block_bytes * told.blocks if told is not None else UNKNOWN,
        available_bytes=told.block_bytes * told.available_blocks if told is not None else UNKNOWN,
        read_only="ro" in options or (told is not None and told.read_only),
        other_paths=other_paths(mounts, here, escape(scope.root)),
        read_fault=read_fault,
        device_number=told.device_number if told is not None else "",
        took_s=time.monotonic() - started,
    )  # fmt: skip


def filesystem_id(host: Host, mount: Mount) -> str:
    """The filesystem's identity, the same on every host; `""` where it cannot be told. `gluster:VOLUME`
    stands for the id of a Gluster volume, which only `gluster` knows.
    """
    kind = mount.filesystem_type
    if kind in _NFS or kind in _CIFS:
        return mount.source.rstrip("/") if not mount.source.endswith(":/") else mount.source
    if kind == GLUSTER:
        return f"gluster:{mount.source.rpartition(':')[2].strip('/').partition('/')[0]}"
    if kind != "ocfs2" and kind not in _SUPERBLOCKS:
        return ""
    device = _device(host, mount)
    try:
        if kind == "ocfs2":
            found = ocfs2.parse(host.block(device, 0, ocfs2.HEAD_BYTES))
            return found.filesystem_uuid if found is not None else ""
        return parse_uuid(kind, host.block(device, _SUPERBLOCKS[kind].at, _SUPERBLOCK_BYTES))
    except HostError:
        return ""


def parse_uuid(filesystem_type: str, superblock: bytes) -> str:
    """The UUID in the superblock of XFS, ext2 to ext4 or btrfs; `""` when it is none."""
    layout = _SUPERBLOCKS[filesystem_type]
    raw = superblock[layout.uuid_offset : layout.uuid_offset + 16]
    if not superblock.startswith(layout.magic, layout.magic_offset) or len(raw) < 16:
        return ""
    return str(UUID(bytes=raw))


def other_paths(mounts: Iterable[Mount], here: Standing, root: str) -> tuple[str, ...]:
    """The further paths under which the directory is known: links resolved, and where other mounts of the
    same filesystem (bind mounts, the same export or Gluster volume once more) show it.
    """
    paths = {here.path}
    if here.mount is not None:
        inside = _joined(here.mount.root, here.path, here.mount.mount_point)
        for mount in mounts:
            if _same_filesystem(mount, here.mount) and lies_in(inside, mount.root):
                paths.add(_joined(mount.mount_point, inside, mount.root))
    return tuple(sorted(paths - {root}))


def _joined(directory: str, path: str, above: str) -> str:
    """The place in `directory` that `path` has in `above`."""
    rest = path[len(above) :].strip("/")
    return f"{directory.rstrip('/')}/{rest}" if rest else directory


def _same_filesystem(one: Mount, other: Mount) -> bool:
    if one.device_number == other.device_number:
        return True
    shared = one.filesystem_type in _NFS | _CIFS or one.filesystem_type == GLUSTER
    return shared and (one.filesystem_type, one.source) == (other.filesystem_type, other.source)


def _read_fault(host: Host, root: str, mount: Mount | None) -> Fault | None:
    """Why the filesystem is not sound: it cannot read, or the kernel has recorded errors in it."""
    if mount is None or not (mount.source.startswith("/dev/") or mount.filesystem_type == "ocfs2"):
        return None
    try:
        host.read_uncached(root)
    except Denied:
        pass  # says something of our rights, and nothing of the filesystem
    except HostError as error:
        return fault_of(error)
    if not mount.filesystem_type.startswith("ext"):
        return None
    device = _device(host, mount)
    try:
        errors = host.read(f"/sys/fs/ext4/{device.rpartition('/')[2]}/errors_count").strip()
    except HostError:
        return None
    if errors in {b"", b"0"}:
        return None
    return Fault(
        "io-error", f"The kernel has recorded {escape(errors)} errors on {device}; run e2fsck on it."
    )


def _device(host: Host, mount: Mount) -> str:
    """The node of the device that is mounted. btrfs has device numbers of its own."""
    try:
        return node(host.target(f"/sys/dev/block/{mount.device_number}").rpartition("/")[2])
    except HostError:
        return mount.source
