"""Commands: running a host's own tools, without a shell, with a deadline and a bound on their output."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess  # noqa: TID251  this is the module that pyproject's ban speaks of
import sys
import time
from collections.abc import Sequence
from contextlib import suppress

from storekeeper import errors
from storekeeper.sources.contract import Output

OUTPUT_LIMIT_BYTES = 16 << 20
_PIECE_BYTES = 1 << 16
_SYSTEM_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"

Process = subprocess.Popen[bytes]

_running: set[int] = set()
_unkillable: dict[tuple[str, ...], subprocess.Popen[bytes]] = {}  # they sit in the kernel (a dead disk)


def run(argv: Sequence[str], deadline_s: float) -> Output:
    """See `Host.run`. The program leads a process group of its own, which is killed as a whole.

    Raises:
        ToolMissing: the program is not installed.
        TimedOut: it, or a child that holds its output, did not end in time; or an earlier one of the
            same arguments was killed and has still not ended.
        ToolFailed: it could not be started, or printed more than OUTPUT_LIMIT_BYTES.
    """
    name = argv[0]
    earlier = _unkillable.get(tuple(argv))
    if earlier and earlier.poll() is None:
        raise errors.TimedOut(name, f"process {earlier.pid}, killed before, has still not ended")
    _unkillable.pop(tuple(argv), None)
    environment = {**os.environ, "LC_ALL": "C", "PATH": f"{os.environ.get('PATH', '')}:{_SYSTEM_PATH}"}
    environment.pop("LANGUAGE", None)
    try:
        process = subprocess.Popen(  # noqa: S603  argv is a source's own, never a shell's
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            start_new_session=True, env=environment, cwd="/",
        )  # fmt: skip
    except FileNotFoundError as error:
        raise errors.ToolMissing(name, f"not installed, or not in {environment['PATH']}") from error
    except OSError as error:
        raise errors.ToolFailed(name, f"cannot be started: {os.strerror(error.errno or 0)}") from error
    _running.add(process.pid)
    try:
        return _finish(process, name, time.monotonic() + deadline_s, deadline_s)
    except errors.TimedOut:
        if process.poll() is None:
            _unkillable[tuple(argv)] = process
        raise
    finally:
        _running.discard(process.pid)
        for pipe in (process.stdout, process.stderr):
            if pipe:
                pipe.close()


def _finish(process: Process, name: str, until: float, deadline_s: float) -> Output:
    printed: dict[int, list[bytes]] = {}
    left = OUTPUT_LIMIT_BYTES
    with selectors.DefaultSelector() as selector:
        for pipe in (process.stdout, process.stderr):
            assert pipe is not None  # noqa: S101  both are PIPE
            os.set_blocking(pipe.fileno(), False)
            selector.register(pipe.fileno(), selectors.EVENT_READ)
            printed[pipe.fileno()] = []
        out, err = printed.values()
        while selector.get_map():
            ready = selector.select(max(0.0, until - time.monotonic()))
            if not ready and time.monotonic() >= until:
                _kill(process)
                raise errors.TimedOut(name, f"did not end within {deadline_s:g} s and was killed")
            for key, _ in ready:
                piece = os.read(key.fd, _PIECE_BYTES)
                left -= len(piece)
                if left < 0:
                    _kill(process)
                    raise errors.ToolFailed(name, f"printed more than {OUTPUT_LIMIT_BYTES >> 20} MiB")
                if piece:
                    printed[key.fd].append(piece)
                else:
                    selector.unregister(key.fd)
    try:
        status = process.wait(max(0.0, until - time.monotonic()))
    except subprocess.TimeoutExpired as error:
        _kill(process)
        raise errors.TimedOut(name, f"did not end within {deadline_s:g} s and was killed") from error
    return Output(status=status, out=b"".join(out), err=b"".join(err))


def _kill(process: Process) -> None:
    kill_group(process.pid)
    with suppress(subprocess.TimeoutExpired):  # one that sits in the kernel is reaped when that lets it go
        process.wait(0.2)


def kill_group(leader: int) -> None:
    """Kills the process group of `leader`; one that is gone already is no error."""
    with suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def kill_all_running() -> None:
    """Kills every program that `run` waits for in this process."""
    for leader in tuple(_running):
        kill_group(leader)


def start_python(arguments: Sequence[str], *, inherited: int) -> Process:
    """Starts this interpreter with `arguments`; of our descriptors it gets `inherited` and stderr."""
    return subprocess.Popen(  # noqa: S603  our own interpreter
        [sys.executable, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        pass_fds=(inherited,), start_new_session=True, cwd="/",
    )  # fmt: skip


def end(process: Process) -> None:
    """Waits a second for a process to end by itself, then kills it."""
    try:
        process.wait(1.0)
    except subprocess.TimeoutExpired:
        _kill(process)
