"""Block devices that may not answer: a read that hangs costs its caller a deadline, and is not repeated.

A read of a dead disk can sit in the kernel for good, where no signal reaches it. It sits there in a
thread of its own; until that returns, further reads of the device fail at once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from storekeeper import errors
from storekeeper.host import files

DEADLINE_S = 5.0

Read = Callable[[str, int, int, bool], bytes]


class _Stuck(NamedTuple):
    thread: threading.Thread
    since: float


_stuck: dict[str, _Stuck] = {}


def _read(device: str, offset: int, length: int, direct: bool) -> bytes:
    return files.block(device, offset, length, direct=direct)


def block(
    device: str, offset: int, length: int, *, direct: bool = False, deadline_s: float = DEADLINE_S,
    read: Read = _read,
) -> bytes:  # fmt: skip
    """See `Host.block`.

    Raises:
        TimedOut: the device did not answer within `deadline_s`, or still owes an earlier answer.
    """
    stuck = _stuck.get(device)
    if stuck and stuck.thread.is_alive():
        waited_s = time.monotonic() - stuck.since
        raise errors.TimedOut(device, f"a read that began {waited_s:.0f} s ago has not returned")
    answers: list[bytes | BaseException] = []

    def ask() -> None:
        try:
            answers.append(read(device, offset, length, direct))
        except BaseException as error:  # noqa: BLE001  handed to the caller, whatever it is
            answers.append(error)

    thread = threading.Thread(target=ask, name=f"read {device}", daemon=True)
    began = time.monotonic()
    thread.start()
    thread.join(deadline_s)
    if not answers:
        _stuck[device] = _Stuck(thread, began)
        raise errors.TimedOut(device, f"no answer within {deadline_s:g} s")
    _stuck.pop(device, None)
    if isinstance(answers[0], BaseException):
        raise answers[0]
    return answers[0]
