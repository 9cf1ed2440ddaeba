"""A host that writes down what it answers, for a capture."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal, TypeVar

from msgspec.structs import replace

from storekeeper import errors
from storekeeper.host.capture import (
    BlockRead,
    CapturedImage,
    Command,
    Failed,
    Machine,
    Row,
    WalkedDirectory,
    content_of,
    question,
    row_of,
    save,
    walked,
)
from storekeeper.host.captured import CapturedHost
from storekeeper.host.contents import without_contents, without_device_contents
from storekeeper.host.key_slots import without_key_slots
from storekeeper.host.stand_ins import StandIns, stand_ins_for, with_stand_ins
from storekeeper.naming import escape
from storekeeper.sources.contract import (
    Directory,
    Domain,
    ExtentRow,
    FileRow,
    FilesystemSpace,
    Host,
    OpenImage,
    Output,
)

_FILE_LIMIT_BYTES = 16 << 20

_K = TypeVar("_K")
_V = TypeVar("_V")


class RecordingHost:
    """Answers as `host` does, and remembers it in `machine`.

    A question that was asked before gets its first answer again, so that a capture agrees with itself.
    Contents of files are not remembered, nor key slots, salts and digests of LUKS headers. Contents of
    devices are not saved.
    """

    def __init__(self, host: Host, now: Callable[[], float] = time.time) -> None:
        self.machine = Machine(name=host.name, captured_at=now())
        self._host = host
        self._captured = CapturedHost(self.machine)

    @property
    def name(self) -> str:
        """See `Host.name`."""
        return self.machine.name

    def save(self, folder: Path, *, stand_ins: StandIns | None = None) -> StandIns:
        """Writes the capture, names and addresses replaced. Returns its stand-ins, for a declaration.

        Raises:
            Refused: the folder holds something already.
        """
        stand_ins = stand_ins or stand_ins_for(self.machine)
        blocks = {
            device: [without_device_contents(read) for read in reads]
            for device, reads in self.machine.blocks.items()
        }
        save(with_stand_ins(replace(self.machine, blocks=blocks), stand_ins), folder)
        return stand_ins

    def _once(self, method: str, answers: MutableMapping[str, _V], key: str, ask: Callable[[], _V]) -> _V:
        return self._answer(question(method, key), answers, key, ask)

    def _answer(self, asked: str, answers: MutableMapping[_K, _V], key: _K, ask: Callable[[], _V]) -> _V:
        """The answer remembered under `key`; asks for it the first time, and remembers an error too."""
        if key in answers:
            return answers[key]
        if asked in self.machine.failed:
            raise self.machine.failed[asked].error()
        try:
            answers[key] = ask()
        except errors.HostError as error:
            self.machine.failed[asked] = Failed(error.code, error.subject, error.text)
            raise
        return answers[key]

    def read(self, path: str, limit_bytes: int = 1 << 20) -> bytes:
        """See `Host.read`."""
        self._once("read", self.machine.files, path, lambda: self._host.read(path, _FILE_LIMIT_BYTES))
        return self._captured.read(path, limit_bytes)

    def names(self, path: str) -> tuple[str, ...]:
        """See `Host.names`."""
        return self._once("names", self.machine.names, path, lambda: self._host.names(path))

    def target(self, path: str) -> str:
        """See `Host.target`."""
        return self._once("target", self.machine.targets, path, lambda: self._host.target(path))

    def resolve(self, path: str) -> str:
        """See `Host.resolve`."""
        return self._once("resolve", self.machine.resolved, path, lambda: self._host.resolve(path))

    def kind(self, path: str) -> Literal["absent", "directory", "other"]:
        """See `Host.kind`."""
        return self._once("kind", self.machine.kinds, path, lambda: self._host.kind(path))

    def space(self, path: str) -> FilesystemSpace:
        """See `Host.space`."""
        return self._once("space", self.machine.spaces, path, lambda: self._host.space(path))

    def read_uncached(self, path: str) -> None:
        """See `Host.read_uncached`."""

        def ask() -> bool:
            self._host.read_uncached(path)
            return True

        self._once("read_uncached", self.machine.uncached, path, ask)

    def run(self, argv: Sequence[str], deadline_s: float) -> Output:
        """See `Host.run`."""

        def ask() -> Command:
            output = self._host.run(argv, deadline_s)
            return Command(list(argv), output.status, os.fsdecode(output.out), os.fsdecode(output.err))

        asked = question("run", *argv)
        self._answer(asked, self.machine.commands, asked, ask)
        return self._captured.run(argv, deadline_s)

    def block(self, device: str, offset: int, length: int, *, direct: bool = False) -> bytes:
        """See `Host.block`."""
        asked = question("block", device, str(offset), str(length), str(direct))
        reads: dict[tuple[int, int, bool], bytes] = {}

        def ask() -> bytes:
            data = self._host.block(device, offset, length, direct=direct)
            content = content_of([(offset, data)])
            read = BlockRead(offset, length, direct, len(data), content)
            self.machine.blocks.setdefault(device, []).append(read)
            return data

        try:
            return self._captured.block(device, offset, length, direct=direct)
        except errors.NotCaptured:
            return self._answer(asked, reads, (offset, length, direct), ask)

    def domains(self) -> list[Domain]:
        """See `Host.domains`."""
        return self._once("domains", self.machine.domains, "", self._host.domains)

    def walk(
        self, root: str, *, skip: frozenset[bytes], depth_limit: int, threads: int = 1, below: bytes = b"",
        names_only: bool = False,  # noqa: ARG002  what is captured answers any later look
    ) -> Iterator[Directory]:  # fmt: skip
        """See `Host.walk`. Walks the whole root to the end before it yields."""

        def ask() -> list[WalkedDirectory]:
            found = self._host.walk(root, skip=skip, depth_limit=depth_limit, threads=threads)
            return [walked(directory) for directory in found]

        self._once("walk", self.machine.walks, root, ask)
        return self._captured.walk(root, skip=skip, depth_limit=depth_limit, below=below)

    def look(self, root: str, paths: Sequence[bytes]) -> Iterator[FileRow | None]:
        """See `Host.look`."""
        looked = self.machine.looks.setdefault(root, {})
        for path in paths:
            self._look(root, path, looked)
        return self._captured.look(root, paths)

    def _look(self, root: str, path: bytes, looked: dict[str, Row | None]) -> None:
        def ask() -> Row | None:
            row = next(iter(self._host.look(root, [path])))
            return None if row is None else row_of(row)

        key = escape(path)
        with suppress(errors.HostError):  # remembered, and raised when it is this path's turn
            self._answer(question("look", root, key), looked, key, ask)

    def open_images(
        self, root: str, paths: Sequence[bytes], inspect: Callable[[bytes, OpenImage], None],
        *, failed: Callable[[bytes, Exception], None], threads: int = 1,
    ) -> None:  # fmt: skip
        """See `Host.open_images`."""
        images = self.machine.images.setdefault(root, {})

        def inspect_recording(path: bytes, image: OpenImage) -> None:
            recorded = _RecordedImage(image)
            try:
                inspect(path, recorded)
            finally:
                images[escape(path)] = recorded.captured(images.get(escape(path)))

        def failed_recording(path: bytes, error: Exception) -> None:
            if isinstance(error, errors.HostError):
                asked = question("open", root, escape(path))
                self.machine.failed[asked] = Failed(error.code, error.subject, error.text)
            failed(path, error)

        try:
            self._host.open_images(root, paths, inspect_recording, failed=failed_recording, threads=threads)
        except errors.HostError as error:
            asked = question("open_images", root)
            self.machine.failed[asked] = Failed(error.code, error.subject, error.text)
            raise

    def extents(self, root: str, path: bytes, limit: int) -> list[ExtentRow]:
        """See `Host.extents`."""
        mapped = self.machine.extents.setdefault(root, {})
        asked = question("extents", root, escape(path))
        return self._answer(asked, mapped, escape(path), lambda: self._host.extents(root, path, limit))


class _RecordedImage:
    """An open image that remembers what was read of it."""

    def __init__(self, image: OpenImage) -> None:
        self.row = image.row
        self.born_ns = image.born_ns
        self.size = image.size
        self.head = image.head
        self._image = image
        self._reads = [(0, image.head)]

    def read(self, offset: int, length: int) -> bytes:
        """See `ImageFile.read`."""
        data = self._image.read(offset, length)
        if data:
            self._reads.append((offset, data))
        return data

    def captured(self, former: CapturedImage | None) -> CapturedImage:
        """What is remembered, with what a `former` inspection of the same file read."""
        before = [] if former is None else former.content.reads()
        content = content_of([*before, *without_key_slots(without_contents(self._reads))])
        return CapturedImage(row=row_of(self.row), born_ns=self.born_ns, content=content)
