"""The lab of one scenario: everything made in order, and everything gone at the end."""

from __future__ import annotations

import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from lab import gluster, nfs
from lab.comparing import differences
from lab.disks import make_disks
from lab.guest import build_kernel
from lab.host import LabHost
from lab.images import define_guests, make_images
from lab.manager import Manager
from lab.scenario import Scenario

Document = dict[str, Any]
# Hosts that boot at once: each wants a core of its own.
_AT_ONCE = 2


class Lab:
    """Hosts that are up, with all that the scenario gives them."""

    def __init__(
        self,
        scenario: Scenario,
        expected: Mapping[str, Document],
        hosts: dict[str, LabHost],
        manager: Manager,
        results: Path,
    ) -> None:
        """`expected` has by image storage the document that must be seen when nothing is wrong."""
        self.expected = expected
        self.scenario = scenario
        self.hosts = hosts
        self.manager = manager
        self.results = results
        self._started = time.monotonic()

    def say(self, what: str) -> None:
        """One line of progress, with the seconds since the start."""
        print(f"{time.monotonic() - self._started:6.1f} s  {what}", file=sys.stderr, flush=True)

    def build(self) -> None:
        """Boots all hosts and makes what they share."""
        everyone = list(self.hosts.values())
        self._at_once(LabHost.boot, everyone)
        self.say(f"up: {', '.join(self.hosts)}")
        gluster.make_gluster_volumes(self.scenario, self.hosts)
        self._serve(everyone)
        self._at_once(LabHost.mount_served, everyone)
        self.say("mounted: all filesystems and volumes")
        make_images(self.scenario, self.hosts)
        for host in self.hosts.values():
            define_guests(self.scenario, host)
        self.say("made: images and guests")
        self.manager.begin()
        for name in self.hosts:
            self._report(name)
        self.say(f"reporting to {self.manager.url}")

    def bring_up(self, names: Sequence[str]) -> None:
        """Boots hosts again, with all that they had."""
        hosts = [self.hosts[name] for name in names]
        self._at_once(LabHost.boot, hosts)
        self._serve(hosts)
        self._at_once(LabHost.mount_served, hosts)
        for host in hosts:
            define_guests(self.scenario, host)
            self._report(host.name)

    def _serve(self, hosts: Iterable[LabHost]) -> None:
        """Lets hosts serve what they export."""
        for host in hosts:
            for export in self.scenario.exports:
                if export.host == host.name:
                    nfs.serve(host, export)

    def _report(self, name: str) -> None:
        if self.scenario.host(name).agent:
            self.hosts[name].report_to(self.manager)

    def start_volume(self, name: str) -> None:
        """Starts the bricks of a Gluster volume that are down, from a host that is up."""
        host = next(host for host in self.hosts.values() if host.guest.is_up)
        gluster.start(host, self.scenario.gluster_volume(name))

    def kill_brick(self, brick: str) -> None:
        """Kills the process of a brick `HOST:/path`."""
        gluster.kill(self.hosts, brick)

    def split(self, volume: str, path: str, sides: Sequence[str]) -> None:
        """Makes a split brain of the file that is `path` in the volume."""
        gluster.split(self.hosts, self.scenario.gluster_volume(volume), path, sides)

    def heal(self, volume: str, path: str, sides: Sequence[str]) -> None:
        """Ends the split brain of the file that is `path` in the volume: the first side holds the truth."""
        gluster.heal(self.hosts, self.scenario.gluster_volume(volume), path, sides)

    def documents(self) -> dict[str, Document]:
        """By image storage, the documents as the manager serves them now; they are left in the results."""
        documents = {name: self.manager.document(name) for name in self.expected}
        for number, (name, document) in enumerate(documents.items()):
            told = msgspec.json.format(msgspec.json.encode(document))
            (self.results / (f"document-{name}.json" if number else "document.json")).write_bytes(told)
        return documents

    def keep_logs(self) -> None:
        """Leaves what the agents printed in the results."""
        for name, host in self.hosts.items():
            if self.scenario.host(name).agent:
                (self.results / name / "agent.txt").write_text(host.agent_log(), encoding="utf-8")

    def differences(self, documents: Mapping[str, Document]) -> list[str]:
        """What of the documents is not as the scenario expects it, each line with its image storage."""
        within = self.scenario.expected.within
        return [
            f"{name}: {line}"
            for name, expected in self.expected.items()
            for line in differences(expected, documents[name], within)
        ]

    def _at_once(self, what: Callable[[LabHost], None], hosts: Iterable[LabHost]) -> None:
        """Does the same to hosts; when one fails, or the lab is interrupted, none is waited for."""
        pool = ThreadPoolExecutor(_AT_ONCE)
        try:
            for done in [pool.submit(what, host) for host in hosts]:
                done.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for host in self.hosts.values():
                host.guest.power_off()
            raise
        finally:
            pool.shutdown()


@contextmanager
def lab(scenario: Scenario, expected: Mapping[str, Document], results: Path) -> Iterator[Lab]:
    """The lab, empty, for as long as the context lasts; `Lab.build` fills it.

    Disks and sockets lie in a directory of their own that is gone afterwards; consoles, logs and commands
    stay in `results`.
    """
    work = Path(tempfile.mkdtemp(prefix="lab-"))
    hosts: dict[str, LabHost] = {}
    try:
        disks = work / "disks"
        make_disks(scenario, disks)
        kernel = build_kernel(work)
        port = _free_udp_port()
        for host in scenario.hosts:
            hosts[host.name] = LabHost(scenario, host.name, results, disks, work, kernel, port)
        manager = Manager(work / "manager", results, scenario.manager, scenario.declaration)
        it = Lab(scenario, expected, hosts, manager, results)
        try:
            yield it
        finally:
            it.keep_logs()
            manager.close()
    finally:
        for made in hosts.values():
            made.guest.power_off()
        shutil.rmtree(work)


def _free_udp_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
