"""Walking a volume: every file that a look may concern, and what could not be seen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from storekeeper.naming import escape
from storekeeper.observation import Fault
from storekeeper.sources.contract import DEPTH_LIMIT, SKIPPED_DIRECTORIES, FileRow, Host, Scope

FILE_LIMIT = 2_000_000
FAULT_LIMIT = 100


class Files(NamedTuple):
    """The files of one directory: `path` its own bytes, `prefix` what its files' keys begin with; `unseen`
    the names of those without a row. `whole`: it could be read to its end.
    """

    path: bytes
    prefix: str
    rows: list[FileRow]
    unseen: Sequence[bytes]
    whole: bool

    def names(self) -> list[str]:
        """The files' names, escaped, in the order of `rows`."""
        return escaped([row.name for row in self.rows])


class Unseen:
    """What a look could not see: its faults, at most FAULT_LIMIT of them, and the keys that they hide."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.prefixes: set[str] = set()
        self._more = 0

    def add(self, fault: Fault) -> None:
        """One more fault; `hides` is a key, a prefix of keys that ends in `/`, or `*`."""
        if fault.hides == "*":
            self.prefixes.add("")
        elif fault.hides.endswith("/"):
            self.prefixes.add(fault.hides)
        if len(self.faults) < FAULT_LIMIT or fault.hides == "*" or fault.hides.endswith("/"):
            self.faults.append(fault)
        else:
            self._more += 1

    def told(self) -> tuple[Fault, ...]:
        """The faults; those beyond the limit are counted in one."""
        if not self._more:
            return tuple(self.faults)
        text = f"{self._more} more files could not be read."
        return (*self.faults, Fault(code=self.faults[-1].code, text=text))


def walk(
    host: Host, scope: Scope, unseen: Unseen, *, below: bytes = b"", threads: int = 1,
    names_only: bool = False,
) -> Iterator[Files]:  # fmt: skip
    """The files of every directory below the scope's root, or below the directory `below` in it.

    With `names_only` they may be `unseen`.

    Raises:
        HostError: the root itself cannot be opened.
    """
    count = 0
    for directory in host.walk(
        scope.root, skip=SKIPPED_DIRECTORIES, depth_limit=DEPTH_LIMIT, threads=threads, below=below,
        names_only=names_only,
    ):  # fmt: skip
        path = escape(directory.path)
        if directory.fault:
            hides = f"{path}/" if path else "*"
            unseen.add(Fault(code=directory.fault, text=directory.fault_text, hides=hides))
        here = len(directory.files) + len(directory.unseen)
        if here:
            prefix = f"{path}/" if path else ""
            yield Files(directory.path, prefix, directory.files, directory.unseen, not directory.fault)
        count += here
        if count > FILE_LIMIT:
            text = f"It holds more than {FILE_LIMIT} files; the rest is not looked at."
            unseen.add(Fault(code="too-many", text=text))
            unseen.prefixes.add("")
            return


def escaped(names: Iterable[bytes]) -> list[str]:
    """These file names, escaped; at least one."""
    # No name holds a slash, and UTF-8 begins anew behind one: all are escaped in one go.
    return escape(b"/".join(names)).split("/")


def below_skipped(path: bytes) -> bool:
    """Whether a path lies in a directory that is left out, or is no path below the root at all."""
    parts = path.split(b"/")
    return not SKIPPED_DIRECTORIES.isdisjoint(parts) or b"" in parts or b".." in parts or b"." in parts
