"""SOURCES: what a host is asked, one file each, one row each."""

from __future__ import annotations

from collections.abc import Mapping

from storekeeper.sources import (
    disks,
    extents,
    gluster,
    gluster_heals,
    guests,
    images,
    machine,
    mounts,
    ocfs2,
    space,
)
from storekeeper.sources.contract import Source

_ROWS = (
    Source("disks", "host", disks.probe, every_s=30, deadline_s=60, wakes=("ocfs2",)),
    Source("extents", "volume", extents.probe, every_s=30, deadline_s=120),
    Source("gluster", "host", gluster.probe, every_s=15, deadline_s=45),
    Source("gluster_heals", "host", gluster_heals.probe, every_s=60, deadline_s=300),
    Source("guests", "host", guests.probe, every_s=15, deadline_s=20, wakes=("images",)),
    Source("images", "volume", images.probe, every_s=10, deadline_s=600, wakes=("extents",)),
    Source("machine", "host", machine.probe, every_s=300, deadline_s=20),
    Source("mounts", "host", mounts.probe, every_s=10, deadline_s=5, wakes=("space",)),
    Source("ocfs2", "host", ocfs2.probe, every_s=30, deadline_s=60),
    Source("space", "volume", space.probe, every_s=10, deadline_s=5),
)

SOURCES: dict[str, Source] = {row.name: row for row in _ROWS}

# Those that look into a volume, not at its place only: of the hosts that see it, one does that.
INSIDE = frozenset({"images", "extents"})


def paced(every_s: Mapping[str, float]) -> dict[str, Source]:
    """SOURCES with other pauses, by name; a name that is not known here is nobody's."""
    return {name: row._replace(every_s=every_s.get(name, row.every_s)) for name, row in SOURCES.items()}
