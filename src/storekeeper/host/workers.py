"""The agent's side of the workers: one process a lane, a deadline for each ask, kernel events as hints.

The invariants:

1. A lane has at most one process. While one that was killed does not die (the kernel will not let it
   go), the lane is stuck: it gets no new process, and asks fail at once.
2. Nothing here waits for a mount, a tool or libvirt longer than a deadline.
3. After an answer that nobody received, the next one to the same question is full.
4. All that was started ends: with `close`, or with this process, since workers see its sockets close.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import select
import signal
import socket
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from msgspec.structs import replace

from storekeeper import errors
from storekeeper.host import commands
from storekeeper.host.frames import LENGTH, decode_from_worker, frame
from storekeeper.host.wire import Ask, FromAgent, Hint, Told, Unwatched, Watch

ZYGOTE: Final = ("-I", "-m", "storekeeper.host.zygote")
_DYING_S = 0.1
_CLOSING_S = 0.5
_START_S = 30.0


class Workers:
    """Asks and watches in worker processes, which it starts when they are needed.

    `hints` is what the workers tell unasked. `zygote`: the arguments of Python that start a zygote.
    """

    def __init__(self, zygote: Sequence[str] = ZYGOTE) -> None:
        self.hints: asyncio.Queue[Hint | Unwatched] = asyncio.Queue()
        self._zygote = _Zygote(zygote)
        self._processes: dict[str, _Process] = {}
        self._watches: dict[str, dict[tuple[str, str], Watch]] = {}
        self._starting: dict[str, asyncio.Lock] = {}

    async def ask(self, lane: str, ask: Ask, deadline_s: float) -> Told:
        """The answer of the lane's worker.

        Raises:
            TimedOut: it did not come in time, and the worker was killed; or an earlier call still hangs.
            ToolFailed: the worker died, or cannot be started. The next ask starts another.
        """
        process = await self._process(lane)
        return await process.ask(ask, deadline_s)

    async def watch(self, lane: str, watch: Watch) -> None:
        """Has the lane's worker, and each that follows it, send hints for this scope.

        Raises:
            TimedOut: the lane is stuck; its next worker will watch.
            ToolFailed: the worker cannot be started.
        """
        watches = self._watches.setdefault(lane, {})
        watches[watch.source, watch.scope.key] = watch
        process = await self._process(lane)
        process.watch(watch)

    async def end(self, lane: str) -> None:
        """Ends a lane that is not needed any more, and its watches."""
        self._watches.pop(lane, None)
        self._starting.pop(lane, None)
        process = self._processes.get(lane)
        if process is not None:
            await process.end()
            if process.ended.is_set():
                self._processes.pop(lane, None)

    async def close(self) -> None:
        """Ends all that was started. Takes about a second at most; what the kernel holds is left to it."""
        await asyncio.gather(*(self.end(lane) for lane in tuple(self._processes)))
        await asyncio.to_thread(self._zygote.close)

    def pid(self, lane: str) -> int | None:
        """The process id of the lane's worker, None when there is none now."""
        process = self._processes.get(lane)
        return None if process is None or process.ended.is_set() else process.pid

    async def _process(self, lane: str) -> _Process:
        async with self._starting.setdefault(lane, asyncio.Lock()):
            process = self._processes.get(lane)
            if process is not None and process.killed:
                await process.dead_within(_DYING_S)
                if not process.ended.is_set():
                    text = "not asked again until the old call returned: its process hangs in the kernel"
                    raise errors.TimedOut(lane, text)
            if process is None or process.ended.is_set():
                process = await self._start(lane)
            return process

    async def _start(self, lane: str) -> _Process:
        again = lane in self._processes
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                pid, pidfd = await asyncio.to_thread(self._zygote.fork, theirs)
            except OSError as error:
                ours.close()
                raise errors.ToolFailed(lane, f"its worker cannot be started: {error}") from error
        process = _Process(lane, pid, pidfd, self.hints)
        await process.open(ours)
        self._processes[lane] = process
        for watch in self._watches.get(lane, {}).values():
            process.watch(watch)
            if again:  # what happened while nobody watched
                self.hints.put_nowait(Hint(source=watch.source, scope=watch.scope.key))
        return process


class _Process:
    """One worker process, from its start to its end."""

    def __init__(self, lane: str, pid: int, pidfd: int, hints: asyncio.Queue[Hint | Unwatched]) -> None:
        self.pid = pid
        self.killed = False
        self.ended = asyncio.Event()
        self._lane = lane
        self._pidfd = pidfd
        self._hints = hints
        self._numbers = itertools.count(1)
        self._asked: dict[int, asyncio.Future[Told]] = {}
        self._unreceived: set[tuple[str, str]] = set()
        asyncio.get_running_loop().add_reader(pidfd, self._has_ended)

    async def open(self, connection: socket.socket) -> None:
        """Begins to receive from the worker."""
        self._reader, self._writer = await asyncio.open_unix_connection(sock=connection, limit=1 << 20)
        self._receiving = asyncio.create_task(self._receive(), name=f"worker {self._lane}")

    async def ask(self, ask: Ask, deadline_s: float) -> Told:
        key = (ask.source, ask.scope.key)
        number = next(self._numbers)
        future: asyncio.Future[Told] = asyncio.get_running_loop().create_future()
        self._asked[number] = future
        full = ask.full or key in self._unreceived
        self._unreceived.add(key)
        try:
            async with asyncio.timeout(deadline_s):
                self._send(replace(ask, number=number, full=full))
                await self._writer.drain()
                told = await future
        except TimeoutError:
            text = f"{ask.source} did not answer within {deadline_s:g} s; its process was killed"
            self.kill(f"killed because {text}")
            raise errors.TimedOut(self._lane, text) from None
        except ConnectionError as error:
            raise errors.ToolFailed(self._lane, f"its worker died: {error}") from error
        finally:
            del self._asked[number]
        self._unreceived.discard(key)
        return replace(told, number=ask.number)

    def watch(self, watch: Watch) -> None:
        self._send(watch)

    def kill(self, why: str) -> None:
        """Kills the worker and the programs that it runs; all who wait for it are told at once."""
        if not self.killed and not self.ended.is_set():
            self.killed = True
            tools = _children(self.pid)
            if _is_over(self._pidfd):
                tools = []  # the number may be another process' by now
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
            for tool in tools:
                commands.kill_group(tool)
        self._fail(errors.TimedOut(self._lane, why))

    async def end(self) -> None:
        """Closes the worker's socket, which makes it end; kills it when that does not."""
        self._writer.close()
        await self.dead_within(_CLOSING_S)
        if not self.ended.is_set():
            self.kill("it was ended")
            await self.dead_within(_CLOSING_S)
        self._receiving.cancel()
        with suppress(ConnectionError):
            await self._writer.wait_closed()

    async def dead_within(self, seconds: float) -> None:
        """Waits for the end of the process, but no longer."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.ended.wait()

    def _send(self, message: FromAgent) -> None:
        self._writer.write(frame(message))

    async def _receive(self) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                (length,) = LENGTH.unpack(await self._reader.readexactly(LENGTH.size))
                message = decode_from_worker(await self._reader.readexactly(length))
                if not isinstance(message, Told):
                    self._hints.put_nowait(message)
                elif (future := self._asked.get(message.number)) and not future.done():
                    future.set_result(message)

    def _has_ended(self) -> None:
        asyncio.get_running_loop().remove_reader(self._pidfd)
        os.close(self._pidfd)
        self.ended.set()
        self._writer.close()
        self._fail(errors.ToolFailed(self._lane, "its worker died; it is started anew with the next look"))

    def _fail(self, error: errors.HostError) -> None:
        for future in self._asked.values():
            if not future.done():
                future.set_exception(error)


def _is_over(pidfd: int) -> bool:
    """Whether a process has ended, though its end may not have been noticed yet."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


def _children(pid: int) -> list[int]:
    """The programs that a process runs. Each leads a group of its own; see `commands.run`."""
    found: list[int] = []
    with suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            with suppress(OSError), open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as file:
                found += map(int, file.read().split())
    return found


class _Zygote:
    """The process that forks workers; started with the first of them, and anew when it died."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self._arguments = tuple(arguments)
        self._lock = threading.Lock()
        self._requests: socket.socket | None = None
        self._process: commands.Process | None = None

    def fork(self, connection: socket.socket) -> tuple[int, int]:
        """Starts a worker with this end of its socket pair; its pid and pidfd. Blocks for a moment.

        Raises:
            OSError: there is no zygote, or it cannot fork.
        """
        with self._lock:
            requests = self._requests or self._start()
            try:
                socket.send_fds(requests, [b"f"], [connection.fileno()])
                answer, descriptors, _, _ = socket.recv_fds(requests, 32, 1)
            except OSError:
                self._stop()
                raise
            if not descriptors:
                self._stop()
                raise ConnectionError("the zygote died")
            return int(answer), descriptors[0]

    def close(self) -> None:
        """Ends the zygote."""
        with self._lock:
            self._stop()

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.settimeout(_START_S)
        with theirs:
            arguments = [*self._arguments, str(theirs.fileno())]
            self._process = commands.start_python(arguments, inherited=theirs.fileno())
        self._requests = ours
        return ours

    def _stop(self) -> None:
        if self._requests is not None:
            self._requests.close()
            self._requests = None
        if self._process is not None:
            commands.end(self._process)
            self._process = None
