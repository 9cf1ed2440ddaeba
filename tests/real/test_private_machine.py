"""A private machine keeps to itself, wherever the tests themselves run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.real.private_machine import CHECKOUT

pytestmark = pytest.mark.needs("root", "netns")

# Writes outside of what a private machine shares, and below the directory where it starts.
_WRITE = """
from tests.real.private_machine import PrivateMachine
with PrivateMachine("private") as machine:
    print(machine.shell("pwd; hostname; touch /private relative; ls -d /private /relative"))
"""


@pytest.mark.parametrize("chrooted", [False, True])
def test_what_is_written_in_a_private_machine_is_not_on_this_one(tmp_path: Path, chrooted: bool) -> None:
    argv = [sys.executable, "-c", _WRITE]
    if chrooted:
        argv = ["chroot", str(tmp_path), "env", f"--chdir={CHECKOUT}", *argv]
    script = 'mount --make-rprivate /; mount --rbind / "$0"; exec "$@"'
    done = subprocess.run(
        ["unshare", "-m", "bash", "-ec", script, str(tmp_path), *argv],
        cwd=CHECKOUT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == ["/", "private", "/private", "/relative"]
    assert not Path("/private").exists()
    assert not Path("/relative").exists()
    assert not (CHECKOUT / "relative").exists()
