"""A lab that is interrupted leaves nothing behind but its results."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCENARIO = '''
about = "one host with nothing"
declaration = """
[image_storages.internal]
hosts = ["alpha"]
"""
[expected]
documents = { internal = "expected.json" }
[[hosts]]
name = "alpha"
address = "10.79.0.1"
memory_mib = 384
[[images]]
host = "alpha"
path = "/run/never"
size_mib = 1
'''


@pytest.fixture
def short_directory() -> Iterator[Path]:
    """A directory whose path leaves room for the names of sockets in it."""
    with tempfile.TemporaryDirectory(prefix="t", dir="/tmp") as directory:
        yield Path(directory)


def wait_until(condition: Callable[[], object], within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def guests_of(directory: Path) -> list[int]:
    """The processes that have this directory in their command line."""
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = place.read_bytes()
        except OSError:
            continue  # it has just ended
        if b"qemu-system" in words and str(directory).encode() in words:
            found.append(int(place.parent.name))
    return found


def start_lab(directory: Path) -> subprocess.Popen[bytes]:
    """A lab of its own, with a guest that runs."""
    (directory / "scenario.toml").write_text(SCENARIO)
    (directory / "expected.json").write_text("{}")
    process = subprocess.Popen(
        [sys.executable, "-m", "lab", "scenario.toml"],
        cwd=directory, env=os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(directory)},
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    console = directory / "build/lab/scenario/alpha/console-1.txt"
    assert wait_until(lambda: guests_of(directory) and console.exists(), within_s=60)
    return process


@pytest.mark.guest
@pytest.mark.needs("root", "qemu-system")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_an_interrupted_lab_takes_everything_down(short_directory: Path, number: signal.Signals) -> None:
    process = start_lab(short_directory)
    process.send_signal(number)
    assert process.wait(timeout=60) == 128 + number
    assert guests_of(short_directory) == []
    assert list(short_directory.glob("lab-*")) == []
    assert (short_directory / "build/lab/scenario/alpha/console-1.txt").exists()


@pytest.mark.guest
@pytest.mark.needs("root", "qemu-system")
def test_not_even_a_killed_lab_leaves_a_guest_behind(short_directory: Path) -> None:
    process = start_lab(short_directory)
    process.kill()
    process.wait()
    assert wait_until(lambda: not guests_of(short_directory), within_s=30)


@pytest.mark.guest
@pytest.mark.needs("root", "qemu-system")
def test_a_second_lab_in_one_place_is_refused(short_directory: Path) -> None:
    first = start_lab(short_directory)
    second = subprocess.run(
        [sys.executable, "-m", "lab", "scenario.toml"],
        cwd=short_directory, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert second.returncode == 2
    assert "another lab" in second.stderr
    first.terminate()
    assert first.wait(timeout=60) == 143
