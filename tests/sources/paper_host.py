"""A host on paper: sysfs and tools' answers as a dictionary, for tests of one source."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal, NoReturn

from storekeeper.errors import Absent, HostError, ToolMissing
from storekeeper.sources.contract import Directory, Domain, ExtentRow, FilesystemSpace, OpenImage, Output

Answer = Output | HostError


class PaperHost:
    """Answers what `files`, `links`, `programs` and `devices` hold; everything else is absent.

    A file may be a `HostError` instead, which is then raised. `devices` holds the content of block
    devices; beyond it they read as zeros. `block_reads` is what was read of them.
    """

    def __init__(
        self,
        files: Mapping[str, bytes | str | HostError],
        *,
        name: str = "paper",
        links: dict[str, str] | None = None,
        programs: Mapping[tuple[str, ...], Answer] | None = None,
        devices: Mapping[str, bytes | HostError] | None = None,
        unasked: Callable[[Sequence[str]], Answer] | None = None,
    ) -> None:
        self.name = name
        self.files = files
        self.links = links or {}
        self.programs = programs or {}
        self.devices = devices or {}
        self.unasked = unasked
        self.block_reads: list[tuple[str, int, int]] = []

    def read(self, path: str, limit_bytes: int = 1 << 20) -> bytes:
        content = self.files.get(path, Absent(path, "no such file"))
        if isinstance(content, HostError):
            raise content
        return content.encode() if isinstance(content, str) else content

    def names(self, path: str) -> tuple[str, ...]:
        below = {
            known.removeprefix(path + "/").split("/")[0]
            for known in (*self.files, *self.links)
            if known.startswith(path + "/")
        }
        if not below:
            raise Absent(path, "no such directory")
        return tuple(sorted(below - {""}))

    def target(self, path: str) -> str:
        if path not in self.links:
            raise Absent(path, "no such link")
        return self.links[path]

    def run(self, argv: Sequence[str], deadline_s: float) -> Output:
        answer = self.programs.get(tuple(argv))
        if answer is None:
            answer = self.unasked(argv) if self.unasked else ToolMissing(argv[0], "not installed")
        if isinstance(answer, HostError):
            raise answer
        return answer

    def block(self, device: str, offset: int, length: int, *, direct: bool = False) -> bytes:
        self.block_reads.append((device, offset, length))
        content = self.devices.get(device, b"")
        if isinstance(content, HostError):
            raise content
        return content[offset : offset + length].ljust(length, b"\0")

    # What no source of the whole host asks for.

    def resolve(self, path: str) -> NoReturn:
        raise NotImplementedError

    def space(self, path: str) -> FilesystemSpace:
        raise NotImplementedError

    def kind(self, path: str) -> Literal["absent", "directory", "other"]:
        raise NotImplementedError

    def read_uncached(self, path: str) -> None:
        raise NotImplementedError

    def walk(
        self, root: str, *, skip: frozenset[bytes], depth_limit: int, threads: int = 1, below: bytes = b"",
        names_only: bool = False,
    ) -> Iterator[Directory]:  # fmt: skip
        raise NotImplementedError

    def look(self, root: str, paths: Sequence[bytes]) -> NoReturn:
        raise NotImplementedError

    def open_images(
        self, root: str, paths: Sequence[bytes], inspect: Callable[[bytes, OpenImage], None],
        *, failed: Callable[[bytes, Exception], None], threads: int = 1,
    ) -> None:  # fmt: skip
        raise NotImplementedError

    def extents(self, root: str, path: bytes, limit: int) -> list[ExtentRow]:
        raise NotImplementedError

    def domains(self) -> list[Domain]:
        raise NotImplementedError
