"""A captured machine: a host that answers from a capture, and says so where it cannot."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeVar

from storekeeper import errors
from storekeeper.formats.contract import HEAD_BYTES, BoundedFile
from storekeeper.host.capture import (
    CapturedImage,
    Machine,
    directory_of,
    file_row,
    load,
    question,
)
from storekeeper.naming import escape
from storekeeper.sources.contract import (
    Directory,
    Domain,
    ExtentRow,
    FileRow,
    FilesystemSpace,
    OpenImage,
    Output,
)

_V = TypeVar("_V")


class CapturedHost:
    """A `Host` made of a capture. A question that was not asked then is `NotCaptured`."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    @classmethod
    def load(cls, folder: Path) -> CapturedHost:
        """The machine captured in a folder.

        Raises:
            UsageError: this is no capture.
        """
        return cls(load(folder))

    @property
    def name(self) -> str:
        """See `Host.name`."""
        return self._machine.name

    @property
    def captured_at(self) -> float:
        """When it was captured (epoch, seconds): what was seen then was so then."""
        return self._machine.captured_at

    def _answer(self, asked: str, subject: str, answers: Mapping[str, _V], key: str) -> _V:
        if key in answers:
            return answers[key]
        raise self._unanswered(asked, subject)

    def _unanswered(self, asked: str, subject: str) -> errors.HostError:
        if asked in self._machine.failed:
            return self._machine.failed[asked].error()
        text = f"not captured ({asked.partition(' ')[0]}); capture this machine anew with this version"
        return errors.NotCaptured(escape(subject), text)

    def read(self, path: str, limit_bytes: int = 1 << 20) -> bytes:
        """See `Host.read`."""
        content = self._answer(question("read", path), path, self._machine.files, path)
        if len(content) > limit_bytes:
            raise errors.Unreadable(escape(path), f"holds more than {limit_bytes} bytes")
        return content

    def names(self, path: str) -> tuple[str, ...]:
        """See `Host.names`."""
        return self._answer(question("names", path), path, self._machine.names, path)

    def target(self, path: str) -> str:
        """See `Host.target`."""
        return self._answer(question("target", path), path, self._machine.targets, path)

    def resolve(self, path: str) -> str:
        """See `Host.resolve`."""
        return self._answer(question("resolve", path), path, self._machine.resolved, path)

    def kind(self, path: str) -> Literal["absent", "directory", "other"]:
        """See `Host.kind`."""
        return self._answer(question("kind", path), path, self._machine.kinds, path)

    def space(self, path: str) -> FilesystemSpace:
        """See `Host.space`."""
        return self._answer(question("space", path), path, self._machine.spaces, path)

    def read_uncached(self, path: str) -> None:
        """See `Host.read_uncached`."""
        self._answer(question("read_uncached", path), path, self._machine.uncached, path)

    def run(self, argv: Sequence[str], deadline_s: float) -> Output:  # noqa: ARG002  nothing runs
        """See `Host.run`."""
        asked = question("run", *argv)
        command = self._answer(asked, argv[0], self._machine.commands, asked)
        return Output(command.status, os.fsencode(command.out), os.fsencode(command.err))

    def block(self, device: str, offset: int, length: int, *, direct: bool = False) -> bytes:
        """See `Host.block`. Any read that held these bytes answers."""
        for read in self._machine.blocks.get(device, ()):
            if read.offset <= offset and offset + length <= read.offset + read.length:
                end = min(offset + length, read.offset + read.got)
                return read.content.at(offset, max(0, end - offset)) or b""
        asked = question("block", device, str(offset), str(length), str(direct))
        raise self._unanswered(asked, device)

    def domains(self) -> list[Domain]:
        """See `Host.domains`."""
        return self._answer(question("domains", ""), "libvirt", self._machine.domains, "")

    def walk(
        self, root: str, *, skip: frozenset[bytes], depth_limit: int, threads: int = 1, below: bytes = b"",  # noqa: ARG002
        names_only: bool = False,  # noqa: ARG002
    ) -> Iterator[Directory]:  # fmt: skip
        """See `Host.walk`. As it was walked then."""
        for captured in self._answer(question("walk", root), root, self._machine.walks, root):
            directory = directory_of(captured)
            if not below or directory.path == below or directory.path.startswith(below + b"/"):
                yield directory

    def look(self, root: str, paths: Sequence[bytes]) -> Iterator[FileRow | None]:
        """See `Host.look`."""
        looked = self._machine.looks.get(root, {})
        for path in paths:
            key = escape(path)
            row = self._answer(question("look", root, key), key, looked, key)
            yield None if row is None else file_row(row)

    def open_images(
        self, root: str, paths: Sequence[bytes], inspect: Callable[[bytes, OpenImage], None],
        *, failed: Callable[[bytes, Exception], None], threads: int = 1,  # noqa: ARG002
    ) -> None:  # fmt: skip
        """See `Host.open_images`."""
        if (asked := question("open_images", root)) in self._machine.failed:
            raise self._machine.failed[asked].error()
        images = self._machine.images.get(root, {})
        for path in paths:
            key = escape(path)
            try:
                captured = self._answer(question("open", root, key), key, images, key)
                inspect(path, _Image(key, captured))
            except Exception as error:  # noqa: BLE001  as the real host does
                failed(path, error)

    def extents(self, root: str, path: bytes, limit: int) -> list[ExtentRow]:
        """See `Host.extents`."""
        key = escape(path)
        mapped = self._machine.extents.get(root, {})
        return self._answer(question("extents", root, key), key, mapped, key)[:limit]


class _Image(BoundedFile):
    """An `OpenImage` of what was read of it then."""

    def __init__(self, path: str, captured: CapturedImage) -> None:
        self.row = file_row(captured.row)
        self.born_ns = captured.born_ns
        self._path = path
        self._content = captured.content
        head = self._content.at(0, min(HEAD_BYTES, self.row.size)) or b""
        super().__init__(self.row.size, head)

    def _pread(self, offset: int, length: int) -> bytes:
        data = self._content.at(offset, length)
        if data is None:
            raise errors.NotCaptured(
                self._path, f"its bytes {offset} to {offset + length} were not read then"
            )
        return data
