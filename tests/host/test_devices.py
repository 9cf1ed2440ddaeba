"""Block devices that do not answer."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from storekeeper.errors import TimedOut, Unreadable
from storekeeper.host import devices


def test_a_device_that_does_not_answer_costs_one_deadline_and_is_not_asked_again() -> None:
    released = threading.Event()
    asked: list[str] = []

    def hang(device: str, offset: int, length: int, direct: bool) -> bytes:
        asked.append(device)
        released.wait()
        return b""

    try:
        with pytest.raises(TimedOut, match="no answer within"):
            devices.block("/dev/dead", 0, 1, deadline_s=0.05, read=hang)
        with pytest.raises(TimedOut, match="has not returned"):
            devices.block("/dev/dead", 0, 1, deadline_s=60, read=hang)
        assert asked == ["/dev/dead"]
        assert devices.block("/dev/alive", 0, 1, read=lambda *_: b"a") == b"a"
    finally:
        released.set()


def test_a_device_that_answers_again_is_asked_again() -> None:
    released = threading.Event()

    def hang(device: str, offset: int, length: int, direct: bool) -> bytes:
        released.wait()
        return b""

    with pytest.raises(TimedOut):
        devices.block("/dev/slow", 0, 1, deadline_s=0.05, read=hang)
    released.set()
    for thread in threading.enumerate():
        if thread.name == "read /dev/slow":
            thread.join(10)
    assert devices.block("/dev/slow", 0, 1, read=lambda *_: b"b") == b"b"


def test_an_error_of_the_device_is_the_callers() -> None:
    def fail(device: str, offset: int, length: int, direct: bool) -> bytes:
        raise Unreadable(device, "Input/output error")

    with pytest.raises(Unreadable):
        devices.block("/dev/bad", 0, 1, read=fail)


def test_a_device_is_read_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "disk").write_bytes(b"0123456789")
    assert devices.block(str(tmp_path / "disk"), 3, 4) == b"3456"
