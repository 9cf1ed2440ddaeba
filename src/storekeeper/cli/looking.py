"""Looking at a host once, without a server: what `scan`, `probe` and `discover` have in common."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, TypeVar

from storekeeper.declaration import DEFAULT_PATH, Declaration
from storekeeper.errors import DeclarationError, UsageError

if TYPE_CHECKING:
    from storekeeper.agent.asking import Asker
    from storekeeper.merge.truth import HostView, Truth
    from storekeeper.sources.contract import Host, Scope

T = TypeVar("T")


def text_of(path: str) -> str:
    """The text of a declaration.

    Raises:
        UsageError: it cannot be read.
        DeclarationError: it is no text.
    """
    try:
        with open(path, "rb") as file:
            return _decoded(file.read(), path)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror}. `storekeeper discover` prints one to start from."
        ) from error


def declaration_of(config: str | None, host: Host) -> Declaration:
    """What `config` declares, or the host's own file; without that, what will be found on the host.

    Raises:
        DeclarationError: the first thing that is wrong with the file.
        HostError: the host's own file is there but cannot be read.
    """
    from storekeeper.declaration_toml import load
    from storekeeper.errors import Absent, NotCaptured

    path = config or DEFAULT_PATH
    try:
        return load(text_of(path) if config else _decoded(host.read(path), path), host.name)
    except (Absent, NotCaptured):
        return Declaration(host_id=host.name, image_storages={}, found=True)
    except DeclarationError as error:
        raise DeclarationError(error.key, error.text, file=path) from error


def _decoded(text: bytes, path: str) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        raise DeclarationError("", "it is not UTF-8; save it as that", file=path) from error


def with_host(captured: str | None, use: Callable[[Host, Asker], Awaitable[T]]) -> T:
    """Runs `use` with the machine captured in a folder, or with this one.

    This one is asked through workers, since what hangs must hang there; a captured one cannot hang.
    """
    return asyncio.run(_with_captured(captured, use) if captured is not None else _with_this_host(use))


async def _with_captured(captured: str, use: Callable[[Host, Asker], Awaitable[T]]) -> T:
    from storekeeper.agent.asking import DirectAsker
    from storekeeper.host.captured import CapturedHost

    host = CapturedHost.load(Path(captured))
    return await use(host, DirectAsker(host))


async def _with_this_host(use: Callable[[Host, Asker], Awaitable[T]]) -> T:
    from storekeeper.agent.asking import WorkerAsker
    from storekeeper.host.real import RealHost
    from storekeeper.host.workers import Workers

    workers = Workers()
    try:
        return await use(RealHost(), WorkerAsker(workers))
    finally:
        await workers.close()


def clock_of(host: Host) -> Callable[[], float]:
    """The time; of a captured machine always that of its capture, so that its document stays the same."""
    from storekeeper.host.captured import CapturedHost

    return (lambda: host.captured_at) if isinstance(host, CapturedHost) else time


async def look(
    host: Host,
    asker: Asker,
    host_id: str,
    scopes_of: Callable[[HostView], Sequence[tuple[str, Scope]]],
) -> HostView:
    """Everything that one look at the host shows."""
    from storekeeper.agent.once import look_once
    from storekeeper.merge.truth import HostView
    from storekeeper.sources import SOURCES

    return await look_once(asker, SOURCES, scopes_of, HostView(host_id=host_id), clock_of(host))


async def look_at_storages(host: Host, asker: Asker, declaration: Declaration) -> Truth:
    """The truth of all storages that are declared or found, from one look at this host."""
    from storekeeper.merge import merge
    from storekeeper.merge.scopes import scopes
    from storekeeper.merge.truth import Memory

    def scopes_of(view: HostView) -> Sequence[tuple[str, Scope]]:
        known = found_on(declaration, host, view)
        return scopes(known, {known.host_id: view})[known.host_id]

    view = await look(host, asker, declaration.host_id, scopes_of)
    known = found_on(declaration, host, view)
    return merge(known, {known.host_id: view}, Memory(), clock_of(host)())


def found_on(declaration: Declaration, host: Host, view: HostView) -> Declaration:
    """The declaration; where none was written, what its host has."""
    from storekeeper.manager.manager import declared
    from storekeeper.manager.serving import image_directories

    return declared(declaration, {declaration.host_id: view}, image_directories(host))
