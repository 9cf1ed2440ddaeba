"""SOURCES: what a host is asked, one file each, one row each."""

from __future__ import annotations

from storekeeper.sources import disks, mounts, ocfs2, space
from storekeeper.sources.contract import Source

_ROWS = (
    Source("disks", "host", disks.probe, every_s=30, deadline_s=20),
    Source("mounts", "host", mounts.probe, every_s=10, deadline_s=5, wakes=("space",)),
    Source("ocfs2", "host", ocfs2.probe, every_s=30, deadline_s=20),
    Source("space", "volume", space.probe, every_s=10, deadline_s=5),
)

SOURCES: dict[str, Source] = {row.name: row for row in _ROWS}
