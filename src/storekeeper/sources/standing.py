"""How a volume's place is mounted, and whether what lies there may be taken for the volume."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct

from storekeeper.errors import Absent, HostError
from storekeeper.naming import escape
from storekeeper.observation import DeclaredMount, Mount
from storekeeper.sources.contract import Host, Scope
from storekeeper.sources.mounts import covering, lies_in, mounted


class Standing(Struct, frozen=True):
    """How a place is mounted. `path` is the place with its symbolic links resolved, escaped as mountinfo's
    paths are; `missing`: it must be a mount point, or lie in a mount, and does not.
    """

    path: str
    mount: Mount | None
    is_mount_point: bool
    must_be_mount: bool
    missing: bool


def standing(mounts: Sequence[Mount], declared: Iterable[DeclaredMount], scope: Scope, path: str) -> Standing:
    """How the scope's root, which is `path` with its symbolic links resolved, is mounted. Pure.

    Of the declared places the nearest at or above it counts: what lies below a missing mount is no more
    there than what lies at it. An automount point that nothing is mounted over is no mount.
    """
    mount = covering(mounts, path)
    place = mount.mount_point if mount is not None and mount.filesystem_type != "autofs" else ""
    roots = {path, escape(scope.root)}
    above = [row.key for row in declared if row.key != "/" and any(lies_in(root, row.key) for root in roots)]
    nearest = max(above, key=len, default="")
    declared_here = nearest in roots
    below_missing = bool(nearest) and not declared_here and not lies_in(place or "/", nearest)
    must = declared_here or below_missing
    return Standing(
        path=path, mount=mount, is_mount_point=place == path, must_be_mount=must,
        missing=below_missing or ((must or scope.must_be_mount or bool(scope.source)) and place != path),
    )  # fmt: skip


def resolved(host: Host, mounts: Sequence[Mount], root: str) -> str:
    """The root with its symbolic links resolved, escaped. A mount point is never touched for that, nor is
    a place that is absent resolved.
    """
    escaped = escape(root)
    if any(mount.mount_point == escaped for mount in mounts):
        return escaped
    try:
        return escape(host.resolve(root))
    except HostError:
        return escaped


def footing(host: Host, scope: Scope) -> Standing:
    """How the scope's root is mounted, before anything below it is looked at.

    Raises:
        Absent: it must be a mount point, and is none: what lies beneath is another directory.
        HostError: mountinfo cannot be read.
    """
    mounts = mounted(host)
    here = standing(mounts, (), scope, resolved(host, mounts, scope.root))
    if here.missing:
        raise Absent(escape(scope.root), "nothing is mounted there, though it must be a mount point")
    return here
