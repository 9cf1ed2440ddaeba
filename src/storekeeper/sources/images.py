"""The disk images of one volume, from their own first bytes.

A look stats everything and reads only what changed since the last one. What it must know for that, and
what is no fact, is in the `Looked` that it returns; a plain `Seen` of an earlier run does as well, only
that what proved to be no image is then read once more.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, cast

from msgspec.structs import replace

from storekeeper.errors import Absent, BadHeader, HostError, Unreadable
from storekeeper.formats import identify, raw
from storekeeper.formats.contract import fault_of as header_fault_of
from storekeeper.naming import escape, unescape
from storekeeper.observation import UNKNOWN, Fact, Fault, Header, Image, Seen
from storekeeper.sources import joining
from storekeeper.sources.contract import FileRow, Host, OpenImage, Scope, fault_of
from storekeeper.sources.looked import UNSETTLED, Looked, former_look, in_directories, mark_of
from storekeeper.sources.standing import Standing, footing
from storekeeper.sources.threads import SAMPLE, latency_rules, threads_for
from storekeeper.sources.walking import Files, Unseen, below_skipped, escaped, walk

# Filesystems that can share extents: there, a file that nothing shows to be an image may be a copy of one.
SHARING_FILESYSTEMS = frozenset({"xfs", "btrfs", "ocfs2", "bcachefs"})

Evidence = Literal["header", "partition-table", "name", "used", "none"]

_TEMPORARY = (".part", ".partial", ".tmp", ".crdownload", ".filepart")
_BATCH = 4096
# A file written within a clock tick of being read has the same times as before: what changed since
# shortly before the last look began is read again.
_TICK_NS = 20_000_000


def probe(host: Host, scope: Scope, last: Seen | None, now_ns: Callable[[], int] = time.time_ns) -> Seen:
    """All images of the scope's volume; with `scope.paths`, `last` with what was found at those."""
    started, at_ns = time.monotonic(), now_ns()
    try:
        here = footing(host, scope)
        look = _Look(host, scope, former_look(scope, last), here)
        some = scope.paths if last is not None and last.blind is None else ()
        if some and look.at([unescape(path) for path in some]):
            at_ns = look.former.at_ns
        else:
            look = _Look(host, scope, look.former, here)
            look.everywhere(at_ns - _TICK_NS)
        if _mount_id(footing(host, scope)) != _mount_id(here):
            raise Unreadable(escape(scope.root), "something else was mounted there while it was looked at")
        return look.seen(at_ns, time.monotonic() - started)
    except HostError as error:
        fault, took_s = fault_of(error, "*"), time.monotonic() - started
        if last is None:
            return Seen(source="images", scope=scope.key, facts={}, faults=(fault,), took_s=took_s)
        return replace(last, faults=(fault,), took_s=took_s)


def _mount_id(here: Standing) -> str:
    return here.mount.key if here.mount is not None else ""


class _Look:
    """One look. `files`, `dismissed` and `marks` become the next `Looked`'s."""

    def __init__(self, host: Host, scope: Scope, former: Looked, here: Standing) -> None:
        self.host = host
        self.scope = scope
        self.former = former
        self.unseen = Unseen()
        kind = here.mount.filesystem_type if here.mount is not None else ""
        self._sharing = kind in SHARING_FILESYSTEMS
        self._latent = latency_rules(kind)
        self._threads = former.threads
        self._roots = tuple({escape(scope.root), here.path})
        self._files: dict[str, Image] = {}
        self._dismissed: dict[str, int] = {}
        self._marks: dict[bytes, int] = {}
        self._unchanged = False
        self._claiming: set[str] = set()
        self._waiting: dict[bytes, str] = {}
        self._headers: dict[Header, Header] = {}
        self._trusted_before_ns = former.at_ns - _TICK_NS
        # Who uses a file decides what it is.
        self._requalified = {key for key, _ in former.used.items() ^ scope.used.items()}
        self._known = former.files
        if self._requalified:
            self._known = {key: file for key, file in former.files.items() if key not in self._requalified}

    # --- where to look ----------------------------------------------------------------------------

    def everywhere(self, settled_before_ns: int) -> None:
        """Looks at every file. A directory of which no row changed costs one comparison."""
        former = self.former
        former_marks = former.marks if not self._requalified else {}
        quiet: set[str] = set()
        first = not former.files and not former.dismissed
        for files in walk(self.host, self.scope, self.unseen, threads=self._threads, names_only=first):
            mark = hash(tuple(files.rows))
            if mark == former_marks.get(files.path, UNSETTLED):
                self._marks[files.path] = mark
                quiet.add(files.prefix)
                continue
            settled = files.whole and files.rows and _newest_ns(files.rows) < settled_before_ns
            self._marks[files.path] = mark if settled else UNSETTLED
            self._take_all(files)
        if quiet and len(quiet) == len(self._marks) == len(former.marks):
            self._unchanged = self.unseen.told() == former.faults
        if not self._unchanged:
            self._open()
            self._files.update(in_directories(former.files, quiet))
            self._dismissed.update(in_directories(former.dismissed, quiet))
            self._keep_hidden(former.files)

    def at(self, paths: Sequence[bytes]) -> bool:
        """Looks at these files and directories only; everything else is as it was. False when the kernel
        does not tell what stands at one of them: only a walk tells what that hides.
        """
        paths = sorted({path for path in paths if not below_skipped(path)})
        self._unsettle(paths)
        gone = {escape(path) for path in paths}
        directories = []
        try:
            rows = list(self.host.look(self.scope.root, paths))
        except HostError:
            return False
        for path, row in zip(paths, rows, strict=True):
            if row is None:
                directories.append(path)
                continue
            above, _, name = path.rpartition(b"/")
            self._take(above, f"{escape(above)}/" if above else "", [escape(name)], [row])
        for directory in directories:
            for files in walk(self.host, self.scope, self.unseen, below=directory, threads=self._threads):
                self._marks[files.path] = UNSETTLED
                self._take_all(files)
        self._open()
        # What was a file that is known had nothing below it.
        below = tuple(f"{key}/" for key in gone if key not in self.former.files)
        kept = dict(self.former.files)
        dismissed = self.former.dismissed.items()
        for key, mark in dismissed:
            if key not in gone and not key.startswith(below):
                self._dismissed[key] = mark
        if below:
            within = {key: file for key, file in kept.items() if key.startswith(below)}
            self._keep_hidden(within)
            kept = {key: file for key, file in kept.items() if key not in within}
        for key in gone:
            kept.pop(key, None)
        self._files = {**kept, **self._files}
        for fault in self.former.faults:
            if fault.hides not in gone and not (below and fault.hides.startswith(below)):
                self.unseen.add(fault)
        return True

    def _keep_hidden(self, former: dict[str, Image]) -> None:
        """What a fault kept from being seen is as it was."""
        if self.unseen.prefixes:
            hidden = tuple(self.unseen.prefixes)
            kept = {key: file for key, file in former.items() if key.startswith(hidden)}
            self._files = {**kept, **self._files}

    def _unsettle(self, paths: Sequence[bytes]) -> None:
        """Has the next whole look not rely on what the former one saw in the directories of these paths."""
        above = {path.rpartition(b"/")[0] for path in paths}
        below = tuple(path + b"/" for path in paths)
        self._marks = {
            path: UNSETTLED if path in above or (path + b"/").startswith(below) else mark
            for path, mark in self.former.marks.items()
        }

    def _take_all(self, files: Files) -> None:
        """Takes the files of one directory."""
        if files.rows:
            self._take(files.path, files.prefix, files.names(), files.rows)
        above = files.path + b"/" if files.path else b""
        for own, name in zip(files.unseen, escaped(files.unseen), strict=False):
            key = files.prefix + name
            if not _is_temporary(key) or key in self.scope.used:
                self._waiting[above + own] = key
        if len(self._waiting) >= _BATCH:
            self._open()

    def _take(self, above: bytes, prefix: str, names: Sequence[str], rows: Sequence[FileRow]) -> None:
        """Takes files of one directory: those that did not change as they are known."""
        files, known, dismissed = self._files, self._known, self.former.dismissed
        used, trusted_before_ns = self.scope.used, self._trusted_before_ns
        for name, row in zip(names, rows, strict=True):
            key = prefix + name
            old = known.get(key)
            if old is None:
                if (
                    key in dismissed
                    and dismissed[key] == mark_of(row)
                    and row.changed_ns < trusted_before_ns
                    and key not in self._requalified
                ):
                    self._dismissed[key] = dismissed[key]
                    continue
            elif (
                old.inode == row.inode
                and old.file_bytes == row.size
                and old.changed_ns == row.changed_ns < trusted_before_ns
                and old.modified_ns == row.modified_ns
            ):
                if old.allocated_bytes != row.blocks << 9:
                    old = replace(old, allocated_bytes=row.blocks << 9)
                files[key] = old
                continue
            if not _is_temporary(key) or key in used:
                self._waiting[above + b"/" + row.name if above else row.name] = key

    # --- reading ----------------------------------------------------------------------------------

    def _open(self) -> None:
        """Reads the files that wait for it."""
        paths = list(self._waiting)
        if self._latent and len(paths) > SAMPLE and self._threads == 1:
            sample, paths = paths[:SAMPLE], paths[SAMPLE:]
            started = time.monotonic()
            self.host.open_images(self.scope.root, sample, self._inspect, failed=self._failed)
            self._threads = threads_for((time.monotonic() - started) / SAMPLE)
        if paths:
            self.host.open_images(
                self.scope.root, paths, self._inspect, failed=self._failed, threads=self._threads
            )
        self._waiting = {}

    def _inspect(self, path: bytes, file: OpenImage) -> None:
        """What one open file is. May run in several threads."""
        key, row = self._waiting[path], file.row
        header = identify(file)
        temporary = _is_temporary(key)
        evidence: Evidence | None = "header" if header is not None else raw.evidence(key, file)
        if key in self.scope.used and (temporary or evidence in {None, "none"}):
            evidence = "used"
        if evidence is None or (evidence == "none" and not self._sharing):
            self._dismissed[key] = mark_of(row)
            return
        if header is None:
            header = raw.inspect(file)
        modified_ns = row.modified_ns
        # Only copies that share extents are told apart by it; it costs a call a file.
        born_ns = file.born_ns if self._sharing else UNKNOWN
        image = Image(
            key=key,
            evidence=evidence,
            header=self._headers.setdefault(header, header),
            file_bytes=row.size,
            allocated_bytes=row.blocks << 9,
            inode=row.inode,
            modified_ns=modified_ns,
            # One number object for equal times: 20,000 images are to fit into little memory.
            changed_ns=modified_ns if row.changed_ns == modified_ns else row.changed_ns,
            born_ns=modified_ns if born_ns == modified_ns else born_ns,
            temporary=temporary,
        )
        old = self.former.files.get(key)
        self._files[key] = old if old is not None and old == image else image
        if header.extents or header.data_file:
            self._claiming.add(key)

    def _failed(self, path: bytes, error: Exception) -> None:
        """A file that cannot be read stays the image that it was, and is tried again at the next look."""
        key = self._waiting[path]
        self._marks[path.rpartition(b"/")[0]] = UNSETTLED
        if isinstance(error, Absent):
            return
        if isinstance(error, HostError):
            fault = fault_of(error, key)
        elif isinstance(error, BadHeader):
            fault = header_fault_of(error)
        else:
            fault = Fault(code="internal", text=f"{key} could not be inspected: {error!r}", hides=key)
        old = self.former.files.get(key)
        if old is None:
            self.unseen.add(fault)
            return
        self._files[key] = replace(old, changed_ns=UNKNOWN, faults=(replace(fault, hides=""),))

    # --- images of several files ------------------------------------------------------------------

    def seen(self, at_ns: int, took_s: float) -> Looked:
        """The look as a whole."""
        if self._unchanged:
            return replace(self.former, took_s=took_s, at_ns=at_ns)
        claims = self._claims()
        if self._release(claims):
            claims = self._claims()
        self._add_members(claims)
        return Looked(
            source="images",
            scope=self.scope.key,
            facts=self._facts(claims),
            faults=self.unseen.told(),
            took_s=took_s,
            files=self._files,
            claims=claims,
            dismissed=self._dismissed,
            marks=self._marks,
            used=self.scope.used,
            at_ns=at_ns,
            threads=self._threads,
        )

    def _claims(self) -> dict[str, tuple[str, ...]]:
        """The further files of each image that has some. A guest's declared format goes before a header."""
        files, known, used = self._files, self._known, self.scope.used
        claims = {
            key: members
            for key, members in self.former.claims.items()
            if key in files and key in known and files[key].header is known[key].header
        }
        for key in self._claiming:
            if used.get(key, "") in {"", files[key].header.format}:
                claims[key] = joining.members(files[key], self._roots)
        return claims

    def _release(self, claims: dict[str, tuple[str, ...]]) -> bool:
        """Reads by themselves the files that no image claims any more; says whether there were any."""
        former = {key for members in self.former.claims.values() for key in members}
        for key in former.difference(*claims.values()):
            if key in self._files and self._files[key].evidence == "none":
                del self._files[key]
                self._waiting[unescape(key)] = key
        released = bool(self._waiting)
        self._open()
        return released

    def _add_members(self, claims: dict[str, tuple[str, ...]]) -> None:
        """Looks at the further files that are no images by themselves."""
        claimed = {key for members in claims.values() for key in members}
        missing = sorted(claimed - self._files.keys())
        paths = [unescape(key) for key in missing]
        for key, row in zip(missing, self.host.look(self.scope.root, paths) if paths else (), strict=True):
            if row is not None:
                self._files[key] = Image(
                    key=key, evidence="none", header=Header(format="raw", virtual_bytes=row.size),
                    file_bytes=row.size, allocated_bytes=row.blocks << 9, inode=row.inode,
                    modified_ns=row.modified_ns, changed_ns=row.changed_ns,
                )  # fmt: skip

    def _facts(self, claims: dict[str, tuple[str, ...]]) -> dict[str, Fact]:
        """The images: files that no other claims, those of several files joined."""
        files, former = self._files, self.former
        if not claims:
            return cast("dict[str, Fact]", files)
        hidden = joining.suppressed(claims, self.scope.used)
        facts: dict[str, Fact] = {
            key: file
            for key, file in files.items()
            if key not in hidden and (self._sharing or file.evidence != "none")
        }
        for key, members in claims.items():
            same = former.claims.get(key) == members
            if (
                same
                and key in former.facts
                and all(files.get(each) is former.files.get(each) for each in (key, *members))
            ):
                facts[key] = former.facts[key]
            else:
                image = joining.joined(files[key], files, self._roots)
                old = former.facts.get(key)
                facts[key] = old if old == image else image
        return facts


def _is_temporary(key: str) -> bool:
    return key.endswith(_TEMPORARY) or key[key.rfind("/") + 1] == "."


def _newest_ns(rows: Iterable[FileRow]) -> int:
    return max(row.changed_ns for row in rows)
