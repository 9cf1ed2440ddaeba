"""Reflink copies: which files of a volume share extents with which, by FIEMAP.

What FIEMAP may be believed, and what not, is in the design: the SHARED flag only says which files to
compare. A file's extents are asked again when it changed; what was asked stays in the `Compared` look
that the next one is given, and losing that costs only asking anew.

Copying a file changes the flags of its extents, but none of its times: so when a file that changed shares
what no known file explains, its source is sought among those that did not change, of the same size first.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from storekeeper.errors import Absent, HostError
from storekeeper.naming import escape, unescape
from storekeeper.observation import UNKNOWN, Fact, Fault, Seen, Sharing
from storekeeper.sources.contract import ExtentRow, FileRow, Host, OpenImage, Scope, fault_of
from storekeeper.sources.images import SHARING_FILESYSTEMS
from storekeeper.sources.shared_bytes import common_bytes, covered_bytes, elders, runs_of
from storekeeper.sources.standing import footing
from storekeeper.sources.walking import Unseen, walk

EXTENT_LIMIT = 65_536
# What a look may ask; files that it does not come to are asked at the next one, the longest unasked first.
TIME_LIMIT_S = 10.0
# Of the older files with which one shares bytes, those with most are told.
TOLD = 4

_SECTOR_BYTES = 512
_LEAST_BYTES = 4096
# The kernel writes dirty pages back within this, and only then do they get an extent; no time of the file
# tells. A file that was younger when it was asked is asked again.
_SETTLES_NS = 60_000_000_000
_NO_RUNS: array[int] = array("Q")


class File(Struct, frozen=True, kw_only=True, gc=False):
    """What is known of one file's extents. `mark` stands for its inode, size and times; `settled`: they
    will not change by themselves. `unexplained_bytes` are marked as shared, though no other file has them.
    """

    mark: int
    size: int
    modified_ns: int
    settled: bool
    asked_ns: int
    runs: array[int]
    mapped_bytes: int
    born_ns: int = UNKNOWN
    unexplained_bytes: int = 0


class Elders(Struct, frozen=True, gc=False):
    """The older files with which one was compared, and the bytes that it shares with the TOLD best."""

    keys: tuple[str, ...]
    told: dict[str, int]


class Compared(Seen, frozen=True, kw_only=True):
    """A look, and what the next one need not ask or compare. Only the `Seen` in it travels."""

    files: dict[str, File]
    elders: dict[str, Elders]


def probe(
    host: Host,
    scope: Scope,
    last: Seen | None,
    now_ns: Callable[[], int] = time.time_ns,
    clock: Callable[[], float] = time.monotonic,
) -> Seen:
    """The files of the scope's volume that share extents with others; where the filesystem cannot share
    any, there are none, and nothing is asked. Always looks at the whole volume.
    """
    started = clock()
    try:
        here = footing(host, scope)
        if here.mount is None or here.mount.filesystem_type not in SHARING_FILESYSTEMS:
            return Seen(source="extents", scope=scope.key, facts={}, took_s=clock() - started)
        former = last if isinstance(last, Compared) else None
        look = _Look(host, scope, former, now_ns(), lambda: clock() - started < TIME_LIMIT_S)
        look.everywhere()
        facts = look.facts(last.facts if last is not None else {})
        return Compared(
            source="extents", scope=scope.key, facts=facts, faults=look.unseen.told(),
            took_s=clock() - started, files=look.files, elders=look.elders,
        )  # fmt: skip
    except HostError as error:
        faults, took_s = (fault_of(error, "*"),), clock() - started
        if last is None:
            return Seen(source="extents", scope=scope.key, facts={}, faults=faults, took_s=took_s)
        return replace(last, faults=faults, took_s=took_s)


class _Look:
    """One look. `files` and `elders` become the next `Compared`'s."""

    def __init__(
        self, host: Host, scope: Scope, former: Compared | None, now_ns: int, in_time: Callable[[], bool]
    ) -> None:
        self._host = host
        self._scope = scope
        self._former = former.files if former is not None else {}
        self._former_elders = former.elders if former is not None else {}
        self._now_ns = now_ns
        self._in_time = in_time
        self._asked: set[str] = set()
        self._unasked = 0
        self.unseen = Unseen()
        self.files: dict[str, File] = {}
        self.elders: dict[str, Elders] = {}

    def everywhere(self) -> None:
        """Asks for the extents of every file that changed, and for what those share with others."""
        changed: dict[str, FileRow] = {}
        for files in walk(self._host, self._scope, self.unseen, threads=self._scope.threads):
            for name, row in zip(files.names(), files.rows, strict=True):
                if row.size < _LEAST_BYTES or row.size % _SECTOR_BYTES:
                    continue
                key = files.prefix + name
                old = self._former.get(key)
                if old is not None:
                    self.files[key] = old
                if old is None or not old.settled or old.mark != _mark(row):
                    changed[key] = row
        hidden = tuple(self.unseen.prefixes)
        if hidden:
            kept = {key: file for key, file in self._former.items() if key.startswith(hidden)}
            self.files = {**kept, **self.files}
        # New files first.
        self._ask(sorted(changed, key=self._asked_ns), changed)
        if not self.unchanged:
            self._explain()
        if self._unasked:
            text = f"{self._unasked} files were not asked for their extents in time; the next look asks."
            self.unseen.add(Fault(code="timed-out", text=text))

    @property
    def unchanged(self) -> bool:
        """Whether nothing was learnt that the former look did not know."""
        return self._former.keys() == self.files.keys() and all(
            self._former[key] is file for key, file in self.files.items()
        )

    def _asked_ns(self, key: str) -> int:
        return self.files[key].asked_ns if key in self.files else 0

    def _ask(self, keys: Sequence[str], rows: Mapping[str, FileRow]) -> None:
        """Asks for the extents of these files. `rows` of those that changed; the others are as known."""
        born = []
        for number, key in enumerate(keys):
            if not self._in_time():
                self._unasked += sum(each not in self.files for each in keys[number:])
                break
            path = unescape(key)
            try:
                found = self._host.extents(self._scope.root, path, EXTENT_LIMIT)
            except Absent:
                self.files.pop(key, None)
                continue
            except HostError as error:
                self.unseen.add(fault_of(error, key))
                continue
            self._asked.add(key)
            self.files[key] = file = self._file(rows.get(key), found, self.files.get(key))
            if len(found) >= EXTENT_LIMIT:
                text = f"{key} has more than {EXTENT_LIMIT} extents; only so many were compared."
                self.unseen.add(Fault(code="too-many", text=text))
            if file.runs and file.born_ns == UNKNOWN:
                born.append(path)
        if born:
            self._host.open_images(self._scope.root, born, self._set_born, failed=lambda *_: None)

    def _file(self, row: FileRow | None, found: Sequence[ExtentRow], old: File | None) -> File:
        runs = runs_of(found) or _NO_RUNS
        if old is not None and old.runs == runs:
            runs = old.runs
        mapped_bytes = sum(extent.length for extent in found)
        if row is None:
            assert old is not None  # noqa: S101  what did not change was known
            return replace(old, runs=runs, mapped_bytes=mapped_bytes, asked_ns=self._now_ns)
        return File(
            mark=_mark(row), size=row.size, modified_ns=row.modified_ns, runs=runs,
            settled=self._now_ns - row.modified_ns > _SETTLES_NS, asked_ns=self._now_ns,
            mapped_bytes=mapped_bytes,
            unexplained_bytes=old.unexplained_bytes if old is not None else 0,
        )  # fmt: skip

    def _set_born(self, path: bytes, file: OpenImage) -> None:
        key = escape(path)
        self.files[key] = replace(self.files[key], born_ns=file.born_ns)

    # --- comparing --------------------------------------------------------------------------------

    def _explain(self) -> None:
        """Seeks the source of what changed files share with no known one: of their size, then anywhere."""
        covered = self._covered()
        for of_size in (True, False):
            puzzling = {
                key
                for key in self._asked
                if self._unexplained(key, covered) > self.files[key].unexplained_bytes
            }
            if not puzzling:
                break
            sizes = {self.files[key].size for key in puzzling}
            self._ask(
                [
                    key
                    for key, file in self.files.items()
                    if key not in self._asked and (not of_size or file.size in sizes)
                ],
                {},
            )
            covered = self._covered()
        self._covered_bytes = covered
        if self._in_time():
            for key in covered:
                unexplained = self._unexplained(key, covered)
                if unexplained != self.files[key].unexplained_bytes:
                    self.files[key] = replace(self.files[key], unexplained_bytes=unexplained)

    def _covered(self) -> dict[str, int]:
        return covered_bytes({key: file.runs for key, file in self.files.items() if file.runs})

    def _unexplained(self, key: str, covered: Mapping[str, int]) -> int:
        runs = self.files[key].runs
        return sum(runs[2::3]) - sum(runs[1::3]) - covered.get(key, 0)

    def facts(self, former: Mapping[str, Fact]) -> dict[str, Fact]:
        """What each file shares with others, of those that share anything."""
        if self.unchanged:
            self.elders = self._former_elders
            return dict(former)
        by_age = sorted(
            (file.born_ns, file.modified_ns, key) for key, file in self.files.items() if file.runs
        )
        partners: dict[str, dict[str, int]] = {key: {} for _, _, key in by_age}
        for key, keys in elders({key: self.files[key].runs for _, _, key in by_age}).items():
            found = self.elders[key] = self._compared(key, keys)
            for elder, shared_bytes in found.told.items():
                partners[key][elder] = partners[elder][key] = shared_bytes
        facts: dict[str, Fact] = {}
        for key, shared_with in partners.items():
            shared_bytes = self._covered_bytes[key]
            if shared_bytes:
                fact = Sharing(
                    key=key, shared_with=shared_with, shared_bytes=shared_bytes,
                    exclusive_bytes=max(0, self.files[key].mapped_bytes - shared_bytes),
                )  # fmt: skip
                old = former.get(key)
                facts[key] = old if old is not None and old == fact else fact
        return facts

    def _compared(self, key: str, keys: tuple[str, ...]) -> Elders:
        """What a file shares with these older ones; as known, when none of them changed."""
        old = self._former_elders.get(key)
        if old is not None and old.keys == keys and all(map(self._same_runs, (key, *keys))):
            return old
        runs = self.files[key].runs
        shared = [(common_bytes(runs, self.files[elder].runs), elder) for elder in keys]
        best = sorted(shared, key=lambda each: -each[0])[:TOLD]
        return Elders(keys, {elder: shared_bytes for shared_bytes, elder in best if shared_bytes})

    def _same_runs(self, key: str) -> bool:
        return key in self._former and self._former[key].runs is self.files[key].runs


def _mark(row: FileRow) -> int:
    return hash((row.inode, row.size, row.modified_ns, row.changed_ns))
