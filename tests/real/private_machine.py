"""A machine of its own inside this one: for daemons that a test must not share with anyone.

It has its own processes, host name, network and root directory: an overlay over this machine's, so
that every program is at hand and whatever is written is gone at the end. `/dev`, `/sys`, `/tmp` and
the checkout are this machine's. Needs root. Every process in it dies with it, and it dies with the
process that made it, however that one ends.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

CHECKOUT = Path(__file__).resolve().parents[2]
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# Run as process 1 of the new namespaces. The old /proc still tells the number by which this machine
# knows it. `umount -l` of the old root takes no mount of this machine with it: all is private by then.
_INIT = """
set -e
checkout=$1 name=$2
read -r pid _ < /proc/self/stat
mount --make-rprivate /
mount -t tmpfs tmpfs /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work /mnt/root
for directory in /dev /sys; do mount --rbind "$directory" "/mnt/root$directory"; done
for directory in /tmp "$checkout"; do mount --bind "$directory" "/mnt/root$directory"; done
cd /mnt/root
mkdir .former
pivot_root . .former
mount -t proc proc /proc
umount -l /.former
rmdir /.former
mount -t tmpfs -o mode=755 tmpfs /run
ip link set lo up
hostname "$name"
echo "127.0.0.1 localhost" > /etc/hosts
echo "$pid"
exec > /dev/null
while :; do sleep 1000; done
"""


def wait_until(happened: Callable[[], bool], *, within_s: float, what: str) -> None:
    """Waits for a condition; fails the test with `what` when it does not come true in time."""
    end = time.monotonic() + within_s
    while not happened():
        if time.monotonic() > end:
            raise AssertionError(f"not within {within_s:g} s: {what}")
        time.sleep(0.05)


class PrivateMachine:
    """One such machine, running from construction until `close`. `pid` is its first process here."""

    def __init__(self, name: str) -> None:
        self.name = name
        command = ["unshare", "-m", "-u", "-n", "-p", "-i", "--fork", "--kill-child", "bash", "-c", _INIT]
        self._init = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *command, "init", str(CHECKOUT), name],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            env={"PATH": PATH, "LC_ALL": "C"},
            text=True,
        )
        assert self._init.stdout
        told = self._init.stdout.readline().strip()
        self._init.stdout.close()
        if not told:
            self._init.wait()
            raise AssertionError(f"the private machine {name} did not start")
        self.pid = int(told)

    def entering(self, argv: Sequence[str]) -> list[str]:
        """The command, to be run on this machine, that runs `argv` in the private one."""
        # Where the tests run in a chroot, the root of the new mount namespace is not the one that its first
        # process has, but this machine's own: that process' root and directory are entered by name.
        return ["nsenter", "-t", str(self.pid), "-m", "-u", "-n", "-p", "-i", "-r", "-w", *argv]

    def run(
        self, argv: Sequence[str], *, timeout_s: float = 60, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Runs a program to its end. With `check`, one that fails fails the test with what it printed."""
        done = subprocess.run(
            self.entering(argv),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env={"PATH": PATH, "LC_ALL": "C"},
            text=True,
            timeout=timeout_s,
            check=False,
        )
        if check and done.returncode:
            printed = f"{done.stdout}{done.stderr}"
            raise AssertionError(f"{self.name}: {' '.join(argv)}: {done.returncode}\n{printed}")
        return done

    def shell(self, script: str, *, timeout_s: float = 60) -> str:
        """Runs a shell script that must succeed; what it printed."""
        return self.run(["bash", "-ec", script], timeout_s=timeout_s).stdout

    def join(self, switch: PrivateMachine, address: str) -> None:
        """Gives this machine a network card `eth0` on the other one's bridge `switch`."""
        port = f"p{self.pid}"
        peer = ["peer", "name", "eth0", "netns", str(self.pid)]
        # ip(8) needs this machine's process numbers: it enters the network alone.
        enter = ["nsenter", "-t", str(switch.pid), "-n", "ip", "link"]
        for words in (["add", port, "type", "veth", *peer], ["set", port, "master", "switch", "up"]):
            subprocess.run([*enter, *words], check=True)
        self.shell(f"ip addr add {address}/24 dev eth0; ip link set eth0 up")

    def close(self) -> None:
        """Ends every process in it. Its namespaces, mounts and network cards go with the last one."""
        self._init.kill()
        self._init.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
