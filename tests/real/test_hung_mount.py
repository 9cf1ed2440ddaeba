"""A mount that hangs so that the kernel lets nobody die who waits for it: what that costs, and what not.

Its FUSE server has taken the request and cannot answer: a process that waits for that ends by no signal.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from storekeeper.document import ImageStorageInfo
from tests.real.private_machine import PrivateMachine, wait_until
from tests.real.served import COMMAND, Served, cannot_die, declare, external, served, workers

pytestmark = pytest.mark.needs("root", "fuse", "bindfs", "qemu-img")

PAUSE_S = 10.0  # between two looks at a volume
NOTICED_S = PAUSE_S + 5.0 + 3.0  # until the next look, its deadline, and the document
BACK_S = PAUSE_S + 5.0
SOON_S = 1.0


def create(path: Path) -> None:
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", path, "64M"], check=True)


@contextmanager
def bound(source: Path, place: Path) -> Iterator[int]:
    """`source` shown at `place` by a FUSE process, which takes one request while another waits; its pid."""
    place.mkdir()
    options = "attr_timeout=0,entry_timeout=0,negative_timeout=0"
    process = subprocess.Popen(["bindfs", "-f", "--multithreaded", "-o", options, str(source), str(place)])
    try:
        wait_until(place.is_mount, within_s=10, what=f"{place} is mounted")
        yield process.pid
    finally:
        subprocess.run(["umount", "-l", place], check=True)
        process.terminate()
        process.wait(timeout=10)


@contextmanager
def standing_still(pid: int) -> Iterator[None]:
    """A process that does nothing."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_hung_mount_costs_one_process_and_no_other_volume_an_answer(tmp_path: Path) -> None:
    local, far = tmp_path / "local", tmp_path / "far"
    for directory in (local, far):
        directory.mkdir()
        create(directory / "image.qcow2")
    # The upper one takes requests and waits for the lower one, which is stopped.
    with bound(far, tmp_path / "lower") as lower, bound(tmp_path / "lower", tmp_path / "upper"):
        declaration = declare(
            tmp_path, external("far", tmp_path / "upper", "mounted = true") + external("local", local)
        )
        with served(declaration) as server:
            server.until(
                lambda: server.ids("far") == server.ids("local") == {"image.qcow2"},
                within_s=5,
                what="all is listed",
            )
            with standing_still(lower):
                _hangs(server, local)
            server.until_status("far", "ok", within_s=BACK_S)
            create(far / "later.qcow2")
            server.until(
                lambda: "later.qcow2" in server.ids("far"), within_s=BACK_S, what="its changes are seen again"
            )
            wait_until(lambda: not killed(server), within_s=SOON_S, what="no worker hangs any more")


def killed(server: Served) -> list[int]:
    """The workers that were killed and are still there. One that ended by itself is so for a moment."""
    return [pid for pid in workers(server) if cannot_die(pid)]


def _hangs(server: Served, local: Path) -> None:
    """What holds while the volume `far` hangs."""
    message = server.until_status("far", "unknown", within_s=NOTICED_S)
    assert "does not answer on flexdev01 since" in message
    assert server.ids("far") == {"image.qcow2"}
    wait_until(lambda: len(killed(server)) == 1, within_s=SOON_S, what="one worker hangs")
    hung = killed(server)
    end = time.monotonic() + NOTICED_S
    number = 0
    while time.monotonic() < end:  # over the next look, and its deadline
        number += 1
        create(local / f"{number}.qcow2")
        wanted = f"{number}.qcow2"
        server.until(
            lambda wanted=wanted: wanted in server.ids("local"),  # type: ignore[misc]
            within_s=SOON_S,
            what="the other volume is fresh",
        )
        assert set(hung) <= set(workers(server))
    wait_until(lambda: killed(server) == hung, within_s=SOON_S, what="the same worker hangs, and no other")
    assert server.volume("local").status == "ok"
    assert server.volume("far").status_msg == message


def test_a_server_that_starts_while_a_mount_hangs_knows_what_was_last_seen_of_it(tmp_path: Path) -> None:
    local, far = tmp_path / "local", tmp_path / "far"
    for directory in (local, far):
        directory.mkdir()
        create(directory / "image.qcow2")
    with bound(far, tmp_path / "lower") as lower, bound(tmp_path / "lower", tmp_path / "upper"):
        declaration = declare(tmp_path, external("far", tmp_path / "upper") + external("local", local))
        with served(declaration) as server:
            server.until(lambda: server.ids("far") == {"image.qcow2"}, within_s=5, what="it is listed")
        with standing_still(lower), served(declaration) as server:
            # What was seen seconds before is served at once: it holds until the first look times out.
            assert server.ids("far") == {"image.qcow2"}
            server.until_status("far", "unknown", within_s=NOTICED_S)
            row = server.volume("far")
            assert server.ids("far") == {"image.qcow2"}
            assert "does not answer on flexdev01 since" in row.status_msg
            assert row.total_space > 0
            assert server.volume("local").status == "ok"


@pytest.mark.needs("netns")
def test_the_usual_place_of_images_on_a_dead_mount_keeps_nothing_from_starting(tmp_path: Path) -> None:
    (tmp_path / "local").mkdir()
    create(tmp_path / "local/image.qcow2")
    place = "/var/lib/libvirt/images"
    with PrivateMachine("flexdev01") as machine:
        machine.shell(f"mkdir -p /srv/far {place}; bindfs /srv/far {place}; pkill -STOP -x bindfs")
        declaration = declare(tmp_path, external("local", tmp_path / "local"))
        with served(declaration, machine) as server:
            assert server.ids("local") == {"image.qcow2"}
        # Undeclared, the place itself is looked at: in a worker.
        machine.shell("rm -rf /etc/storekeeper /etc/libvirt/qemu/*.xml")
        found = msgspec.json.decode(machine.run([COMMAND, "scan"]).stdout, type=ImageStorageInfo)
    (volume,) = found.external_volumes
    assert (volume.mount_point, volume.status) == (place, "unknown")
    assert f"{place} does not answer on flexdev01" in volume.status_msg


def test_a_hung_mount_is_left_out_of_a_capture_and_the_rest_is_in_it(tmp_path: Path) -> None:
    local, far = tmp_path / "local", tmp_path / "far"
    for directory in (local, far):
        directory.mkdir()
        create(directory / "image.qcow2")
    with bound(far, tmp_path / "place") as pid:
        declaration = declare(
            tmp_path, external("far", tmp_path / "place", "mounted = true") + external("local", local)
        )
        with standing_still(pid):
            subprocess.run(
                [COMMAND, "capture", tmp_path / "captured", "--config", declaration], check=True, timeout=60
            )
        scanned = subprocess.run(
            [COMMAND, "scan", "--captured", tmp_path / "captured"],
            check=True,
            capture_output=True,
            timeout=60,
        )
    document = msgspec.json.decode(scanned.stdout, type=ImageStorageInfo)
    row = {volume.volume_id: volume for volume in document.external_volumes}
    assert (row["far"].status, row["local"].status) == ("unknown", "ok")
    assert [image.image_id for image in row["local"].images] == ["image.qcow2"]
