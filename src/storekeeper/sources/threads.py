"""How many threads open files best: one where the kernel answers, more where a network does. Pure."""

from __future__ import annotations

SAMPLE = 64
LEAST, MOST = 8, 32

_NETWORK = frozenset({"nfs", "nfs4", "cifs", "smb3", "ceph", "9p", "virtiofs", "afs"})
# Opening a cached file of a local filesystem costs some 10 us of the processor, which threads only share.
_LOCAL_S = 0.0002
# About what one thread can have under way at a time: more threads than a round trip holds of these wait.
_STEP_S = 0.00005


def latency_rules(filesystem_type: str) -> bool:
    """Whether calls may be round trips, so that measuring is worth while."""
    return filesystem_type in _NETWORK or filesystem_type.startswith("fuse")


def threads_for(open_s: float) -> int:
    """How many threads are to open files, of which one takes `open_s` seconds by itself.

    >>> [threads_for(each) for each in (0.00002, 0.0003, 0.001, 0.1)]
    [1, 8, 20, 32]
    """
    if open_s < _LOCAL_S:
        return 1
    return max(LEAST, min(MOST, round(open_s / _STEP_S)))
