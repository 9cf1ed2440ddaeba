"""A capture: everything that one host answered to the sources, as a folder that a person can read.

    capture.json        the host's name, when it was captured, and the layout's version
    failed.json         questions that got an error: its code and its text
    files/PATH          what `read` gave
    commands/NN-X.json  a program's argv, status and output
    names.json, targets.json, resolved.json, kinds.json, spaces.json, uncached.json, domains.json,
    walks.json, looks.json, images.json, extents.json, blocks.json

Paths of volumes are escaped as everywhere (`storekeeper.naming`). Contents of images and devices are the
bytes that were read, and of these only what is not zero, escaped as well: a name in a header shows as one.
Text of several lines, such as a program's output, is an object `{"lines": [...]}`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any, Final, Literal, NamedTuple

import msgspec
from msgspec import Struct, field
from msgspec.structs import astuple

from storekeeper import errors
from storekeeper.naming import escape, unescape
from storekeeper.observation import UNKNOWN
from storekeeper.sources.contract import Directory, Domain, ExtentRow, FileRow, FilesystemSpace

LAYOUT: Final = 1
_LINES: Final = "lines"
_ROW_CHARACTERS: Final = 120
_ZEROS: Final = re.compile(rb"\0{32,}")
_ERRORS: Final = {kind.code: kind for kind in errors.HostError.__subclasses__()}


class Failed(Struct, frozen=True):
    """An error that a question got; `code` names its class in `errors`."""

    code: str
    subject: str
    text: str

    def error(self) -> errors.HostError:
        """The error, to be raised again."""
        return _ERRORS.get(self.code, errors.Unreadable)(self.subject, self.text)


class Piece(Struct, frozen=True):
    """Bytes at an offset, escaped."""

    at: int
    data: str


class Content(Struct, frozen=True):
    """The parts of a file or device that were read: (offset, length) pairs, and what in them is not zero."""

    read: list[tuple[int, int]] = field(default_factory=list)
    pieces: list[Piece] = field(default_factory=list)

    def at(self, offset: int, length: int) -> bytes | None:
        """These bytes, or None where not all of them were read."""
        if length and not any(at <= offset and offset + length <= at + size for at, size in self.read):
            return None
        found = bytearray(length)
        for piece in self.pieces:
            raw = unescape(piece.data)
            start, end = max(offset, piece.at), min(offset + length, piece.at + len(raw))
            if start < end:
                found[start - offset : end - offset] = raw[start - piece.at : end - piece.at]
        return bytes(found)

    def reads(self) -> list[tuple[int, bytes]]:
        """What was read, as (offset, bytes)."""
        return [(offset, self.at(offset, length) or b"") for offset, length in self.read]


class Row(NamedTuple):
    """A `FileRow` with its name escaped."""

    name: str
    inode: int
    size: int
    blocks: int
    modified_ns: int
    changed_ns: int
    links: int


class WalkedDirectory(Struct, frozen=True, omit_defaults=True):
    """A `Directory` with its path escaped."""

    path: str
    files: list[Row]
    fault: str = ""
    fault_text: str = ""
    skipped: int = 0


class CapturedImage(Struct, frozen=True, omit_defaults=True):
    """What an open image said of itself, and what was read of it."""

    row: Row
    content: Content
    born_ns: int = UNKNOWN


class Command(Struct, frozen=True):
    """A program that ran. Output is text as `os.fsdecode` gives it."""

    argv: list[str]
    status: int
    out: str
    err: str


class BlockRead(Struct, frozen=True):
    """One read of a device: what was asked for, and how many bytes there were."""

    offset: int
    length: int
    direct: bool
    got: int
    content: Content


class Machine(Struct, kw_only=True):
    """All answers of one host. Keys are paths; of `walks`, `looks`, `images` and `extents` the root first.

    `failed` is keyed by the question: the method's name, then its arguments. `captured_at`: epoch, seconds.
    """

    name: str
    captured_at: float
    layout: int = LAYOUT
    failed: dict[str, Failed] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    commands: dict[str, Command] = field(default_factory=dict)
    names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    targets: dict[str, str] = field(default_factory=dict)
    resolved: dict[str, str] = field(default_factory=dict)
    kinds: dict[str, Literal["absent", "directory", "other"]] = field(default_factory=dict)
    spaces: dict[str, FilesystemSpace] = field(default_factory=dict)
    uncached: dict[str, bool] = field(default_factory=dict)
    domains: dict[str, list[Domain]] = field(default_factory=dict)
    walks: dict[str, list[WalkedDirectory]] = field(default_factory=dict)
    looks: dict[str, dict[str, Row | None]] = field(default_factory=dict)
    images: dict[str, dict[str, CapturedImage]] = field(default_factory=dict)
    extents: dict[str, dict[str, list[ExtentRow]]] = field(default_factory=dict)
    blocks: dict[str, list[BlockRead]] = field(default_factory=dict)


def content_of(reads: Iterable[tuple[int, bytes]]) -> Content:
    """The content that these reads (offset, bytes) have seen; overlapping ones are joined."""
    joined: list[tuple[int, bytearray]] = []
    for offset, data in sorted(reads, key=lambda read: read[0]):
        if joined and offset <= joined[-1][0] + len(joined[-1][1]):
            at, segment = joined[-1]
            segment[offset - at : offset - at + len(data)] = data
        else:
            joined.append((offset, bytearray(data)))
    pieces = [piece for at, segment in joined for piece in _pieces(at, bytes(segment))]
    return Content(read=[(at, len(segment)) for at, segment in joined], pieces=pieces)


def _pieces(offset: int, data: bytes) -> Iterable[Piece]:
    start = 0
    for end, following in [*(gap.span() for gap in _ZEROS.finditer(data)), (len(data), len(data))]:
        if end > start:
            yield Piece(offset + start, escape(data[start:end]))
        start = following


def row_of(row: FileRow) -> Row:
    """A row as it is captured."""
    return Row(escape(row.name), *astuple(row)[1:])


def file_row(row: Row) -> FileRow:
    """A row as it was."""
    return FileRow(unescape(row.name), *row[1:])


def walked(directory: Directory) -> WalkedDirectory:
    """A directory as it is captured."""
    return WalkedDirectory(
        escape(directory.path), [row_of(row) for row in directory.files], directory.fault,
        directory.fault_text, directory.skipped,
    )  # fmt: skip


def directory_of(captured: WalkedDirectory) -> Directory:
    """A directory as it was."""
    return Directory(
        path=unescape(captured.path), files=[file_row(row) for row in captured.files],
        fault=captured.fault, fault_text=captured.fault_text, skipped=captured.skipped,
    )  # fmt: skip


# --- the folder -----------------------------------------------------------------------------------


def save(machine: Machine, folder: Path) -> None:
    """Writes a capture into a new or empty folder.

    Raises:
        Refused: something is there already.
    """
    if folder.exists() and any(folder.iterdir()):
        raise errors.Refused(f"{folder} is not empty; name a folder that is not there yet")
    (folder / "commands").mkdir(parents=True)
    for path, content in machine.files.items():
        place = folder / "files" / _below(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    for number, command in enumerate(machine.commands.values(), 1):
        name = re.sub(r"[^a-z0-9]+", "-", PurePosixPath(command.argv[0]).name.lower())
        _write(folder / "commands" / f"{number:02}-{name}.json", command)
    about = {"name": machine.name, "captured_at": machine.captured_at, "layout": machine.layout}
    _write(folder / "capture.json", about)
    for kind in _KINDS:
        if answers := getattr(machine, kind):
            _write(folder / f"{kind}.json", answers)


def load(folder: Path) -> Machine:
    """Reads a capture.

    Raises:
        UsageError: this is no capture, or one of another layout.
    """
    try:
        told: dict[str, Any] = _read(folder / "capture.json")
        for kind in _KINDS:
            if (folder / f"{kind}.json").exists():
                told[kind] = _read(folder / f"{kind}.json")
        machine = msgspec.convert(told, Machine)
        for place in sorted((folder / "commands").glob("*.json")):
            command = msgspec.convert(_read(place), Command)
            machine.commands[question("run", *command.argv)] = command
    except (OSError, ValueError, msgspec.MsgspecError) as error:
        raise errors.UsageError(f"{folder} is no capture: {error}; storekeeper capture makes one") from error
    if machine.layout != LAYOUT:
        raise errors.UsageError(f"{folder} has layout {machine.layout}; this version reads {LAYOUT}")
    files = folder / "files"
    for place in files.rglob("*"):
        if place.is_file() and not place.is_symlink():
            machine.files[_absolute(place.relative_to(files))] = place.read_bytes()
    return machine


def question(method: str, *arguments: str) -> str:
    """The key of a question in `failed`, and of a command in `commands`."""
    return " ".join((method, *map(escape, arguments)))


def _below(path: str) -> PurePosixPath:
    """The place of a file in `files/`. Escaped names hold no `..` that leads anywhere: those are refused."""
    parts = [escape(part) for part in path.split("/") if part not in {"", "."}]
    if ".." in parts:
        raise errors.Refused(f"{path} cannot be captured: it is no plain path")
    return PurePosixPath(*parts)


def _absolute(place: Path) -> str:
    return "/" + unescape(place.as_posix()).decode("utf-8", "surrogateescape")


def _write(place: Path, answers: object) -> None:
    """JSON in ASCII, by the standard library: it keeps the surrogates that stand for bytes of no text."""
    place.write_text(_json(msgspec.to_builtins(answers)) + "\n", encoding="ascii")


def _json(value: Any, indent: str = "\n") -> str:
    """JSON for a person: text by its lines, short rows each on one line."""
    deeper = f"{indent} "
    if isinstance(value, str) and "\n" in value[:-1]:
        lines = f",{deeper}".join(map(json.dumps, value.split("\n")))
        return f'{{"{_LINES}": [{deeper}{lines}]}}'
    if isinstance(value, dict) and value:
        rows = [f"{json.dumps(key)}: {_json(inner, deeper)}" for key, inner in value.items()]
        return f"{{{deeper}{f',{deeper}'.join(rows)}{indent}}}"
    if isinstance(value, list | tuple) and value:
        rows = [_json(inner, deeper) for inner in value]
        if "\n" in "".join(rows) or sum(map(len, rows)) > _ROW_CHARACTERS:
            return f"[{deeper}{f',{deeper}'.join(rows)}{indent}]"
        return f"[{', '.join(rows)}]"
    return json.dumps(value)


def _read(place: Path) -> Any:
    return json.loads(place.read_text(encoding="ascii"), object_hook=_joined)


def _joined(told: dict[str, Any]) -> object:
    lines = told.get(_LINES)
    if len(told) == 1 and isinstance(lines, list) and len(lines) > 1 and isinstance(lines[0], str):
        return "\n".join(lines)
    return told


_KINDS: Final = tuple(
    name
    for name in Machine.__struct_fields__
    if name not in {"name", "captured_at", "layout", "files", "commands"}
)
