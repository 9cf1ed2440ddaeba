"""What a look at a volume's images leaves for the next one, beyond the facts that it tells."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping
from typing import TypeVar

from storekeeper.observation import Image, Seen
from storekeeper.sources import joining
from storekeeper.sources.contract import FileRow, Scope

_T = TypeVar("_T")
UNSETTLED = 0


class Looked(Seen, frozen=True, kw_only=True):
    """A look, and what the next one is spared by it. Only the `Seen` in it travels.

    `files`: what each file is by itself, the further files of images too. `claims`: the keys of the
    further files by image. `dismissed`: the files that are no images, each with its mark. `marks`: of all
    rows of each directory; UNSETTLED where a file must be looked at again whatever its row says. `used`:
    the scope's. `at_ns`: when the last whole look began (epoch). `threads`: how many opened files best.
    """

    files: dict[str, Image]
    claims: dict[str, tuple[str, ...]]
    dismissed: dict[str, int]
    marks: dict[bytes, int]
    used: dict[str, str]
    at_ns: int
    threads: int


def former_look(scope: Scope, last: Seen | None) -> Looked:
    """The last look as the next one needs it, of which a plain `Seen` leaves the most to read again."""
    if isinstance(last, Looked):
        return last
    # What an earlier run had seen: each file by itself, unless its fact is of several files, or hangs on
    # what guests used then.
    files = {
        key: image
        for key, image in (last.facts if last is not None else {}).items()
        if isinstance(image, Image)
        and not joining.names(image.header)
        and image.evidence not in {"used", "none"}
        and key not in scope.used
    }
    facts = last.facts if last is not None else {}
    return Looked(
        source="images", scope=scope.key, facts=facts, files=files, claims={}, dismissed={}, marks={},
        used=scope.used, at_ns=sys.maxsize, threads=scope.threads,
    )  # fmt: skip


def mark_of(row: FileRow) -> int:
    """What changes when the file does."""
    return hash((row.inode, row.size, row.modified_ns, row.changed_ns))


def in_directories(known: Mapping[str, _T], prefixes: Collection[str]) -> dict[str, _T]:
    """Of what is known by key, what lies in these directories."""
    return {key: each for key, each in known.items() if key[: key.rfind("/") + 1] in prefixes}
