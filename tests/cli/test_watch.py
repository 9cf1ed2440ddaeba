"""`storekeeper watch` prints each change once, a line for each thing that changed."""

from __future__ import annotations

import re
import threading

import msgspec
import pytest
from msgspec.structs import replace

from storekeeper.cli import run
from storekeeper.document import ImageInfo, ImageStorageInfo, PhysicalDiskInfo
from storekeeper.document_changes import DocumentChange, difference, patched
from storekeeper.errors import EXIT_NO_SUCH_OBJECT
from storekeeper.manager.events import Change, Feed, Step, event
from tests.api.standin import StandIn, served

LINES = """\
home_flexvdi: status degraded, status_msg not mounted on \\x1b[31mh2
home_flexvdi: new image a.qcow2
home_flexvdi: image corus: guest_id -
home_flexvdi: image test gone
home_flexvdi: clone corus_demo_corus gone
disks: new disk 35000
"""


def changed(document: ImageStorageInfo) -> ImageStorageInfo:
    volume = document.external_volumes[0]
    images = {image.image_id: image for image in volume.images}
    now = [
        ImageInfo("a.qcow2", "home_flexvdi", "internal", "", 1),
        replace(images["corus"], guest_id=""),
        images["team/a/50%25 off.raw"],
    ]
    worse = replace(volume, images=now, clones=[], status="degraded", status_msg="not mounted on \x1b[31mh2")
    disks = [PhysicalDiskInfo("35000", "Samsung", "ATA", "/dev/sdb", "")]
    return replace(document, external_volumes=[worse], disks=disks)


def watched(*options: str) -> tuple[ImageStorageInfo, ImageStorageInfo]:
    """Runs the command until the storage is gone, after one change; gives the documents before and after."""
    manager = StandIn()
    old = manager.truth().storages["internal"].document
    new = changed(old)
    feed = manager.events.feed("internal")
    assert feed is not None
    with served(manager) as url:
        teller = threading.Thread(target=change_and_end, args=(manager, feed, difference(old, new)))
        teller.start()
        assert run(["watch", "internal", "--manager", url, *options]) == EXIT_NO_SUCH_OBJECT
        teller.join()
    return old, new


def change_and_end(manager: StandIn, feed: Feed, change: DocumentChange) -> None:
    pause = threading.Event()
    while not feed.followers:
        pause.wait(0.01)
    manager.call(
        manager.events.add,
        {"internal": Step("e", Change("e", event("change", "e", msgspec.json.encode(change))))},
    )
    manager.call(manager.events.add, {})


def test_each_thing_that_changed_is_a_line_with_its_time(capsys: pytest.CaptureFixture[str]) -> None:
    watched()
    printed = capsys.readouterr()
    assert re.sub(r"^\d\d:\d\d:\d\d ", "", printed.out, flags=re.MULTILINE) == LINES
    assert "no image storage 'internal' any more" in printed.err


def test_as_json_lines_a_program_can_hold_the_document(capsys: pytest.CaptureFixture[str]) -> None:
    _, new = watched("--format", "jsonl")
    first, second = (msgspec.json.decode(line) for line in capsys.readouterr().out.splitlines())
    document = msgspec.convert(first["document"], ImageStorageInfo)
    change = msgspec.convert(second["change"], DocumentChange)
    assert (patched(document, change), second["etag"]) == (new, "e")
