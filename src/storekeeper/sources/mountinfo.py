"""The lines of /proc/self/mountinfo (proc(5)), as every source that asks who is mounted reads them."""

from __future__ import annotations

import re

from storekeeper.naming import escape
from storekeeper.observation import Mount

_OCTAL = re.compile(r"\\([0-7]{3})")
MOUNTINFO = "/proc/self/mountinfo"
MOUNTINFO_BYTES = 1 << 24  # a host with containers has thousands of mounts


def parse(mountinfo: bytes) -> list[Mount]:
    """Every mount, in the kernel's order; the last one at a place covers the others."""
    mounts = []
    for line in mountinfo.decode("utf-8", "surrogateescape").split("\n"):
        fields, _, rest = line.partition(" - ")
        words, kind = fields.split(" "), rest.split(" ")
        if len(words) < 6 or len(kind) < 3:
            continue
        mounts.append(
            Mount(
                key=words[0], parent=words[1], device_number=words[2], root=name(words[3]),
                mount_point=name(words[4]), options=tuple(name(word) for word in words[5].split(",")),
                filesystem_type=name(kind[0]), source=name(kind[1]),
                super_options=tuple(name(word) for word in kind[2].split(",")),
            )
        )  # fmt: skip
    return mounts


def name(word: str) -> str:
    r"""A word of procfs, printable; space, tab, newline and backslash are written `\ooo` there."""
    return escape(_OCTAL.sub(lambda match: chr(int(match[1], 8)), word))
