"""A manager without agents: the seed's own storage, as published bytes and as truth; and ways to ask."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from time import time
from typing import Any, NamedTuple

import msgspec
import uvloop
from litestar.types import ASGIApp

from storekeeper.api import create_app
from storekeeper.api.server import Connection, Server, listening
from storekeeper.declaration import Declaration, ImageStorage, Volume
from storekeeper.document import (
    CloneInfo,
    DiskDetail,
    ExternalVolumeInfo,
    ImageInfo,
    ImageStorageBasicInfo,
    ImageStorageInfo,
)
from storekeeper.manager.access import Access
from storekeeper.manager.events import Events, Step
from storekeeper.manager.published import Published, publish
from storekeeper.merge.hosts import Known
from storekeeper.merge.truth import ImageTruth, Memory, StorageTruth, Truth, VolumeTruth
from storekeeper.observation import Fault, Header, Image
from tests.manager.kept import Kept

GIB = 1 << 30
# 2026-01-02T03:04:05Z
SEEN_AT = 1767323045.0


def image(
    name: str,
    *,
    size_bytes: int = 20 * GIB,
    allocated_bytes: int = GIB,
    guests: tuple[str, ...] = (),
    parent: tuple[str, str] | None = None,
    image_format: str = "qcow2",
    faults: tuple[Fault, ...] = (),
) -> ImageTruth:
    """An image as the merge leaves it."""
    seen = Image(
        key=name, evidence="header",
        header=Header(format=image_format, version="3", virtual_bytes=size_bytes),
        file_bytes=allocated_bytes, allocated_bytes=allocated_bytes, inode=1,
        modified_ns=int(SEEN_AT) * 10**9, changed_ns=0, faults=faults,
    )  # fmt: skip
    return ImageTruth(
        image=seen, size_bytes=size_bytes, format=image_format, guests=guests, parent=parent,
        parent_by="header" if parent else "",
    )  # fmt: skip


HOME = {
    truth.image.key: truth
    for truth in (
        image("corus", guests=("corus",), allocated_bytes=11 * GIB),
        image("corus_demo_corus", guests=("corus",), parent=("home_flexvdi", "corus")),
        image("team/a/50%25 off.raw", image_format="raw", size_bytes=3 * GIB, allocated_bytes=2 * GIB),
        image("test", size_bytes=GIB, faults=(Fault(code="truncated", text="The file ends too early."),)),
    )
}

DISKS = [
    DiskDetail(
        physical_disk_id="3500253887013e77e", host_id="flexdev01", device="/dev/sdb", vendor="ATA",
        product_number="Samsung", serial="S1", size_bytes=256 * GIB, transport="sata", paths=[], usable=True,
        volume_id="samsung_ssd", reasons=[],
    ),
    DiskDetail(
        physical_disk_id="", host_id="flexdev01", device="/dev/sda", vendor="ATA", product_number="System",
        serial="S2", size_bytes=64 * GIB, transport="sata", paths=[], usable=False, volume_id="",
        reasons=["has a partition table", "holds /"],
    ),
]  # fmt: skip


def storage(images: Mapping[str, ImageTruth], storage_id: str = "internal", **changes: Any) -> StorageTruth:
    """A storage of one external volume, `home_flexvdi`, that holds these images."""
    declared = Volume(
        volume_id="home_flexvdi", image_storage_id=storage_id, kind="external", mount_point="/home/flexvdi"
    )
    volume = ExternalVolumeInfo(
        volume_id="home_flexvdi", mount_point="/home/flexvdi", total_space=876659228, free_space=514361156,
        images=[
            ImageInfo(key, "home_flexvdi", storage_id, ",".join(truth.guests), truth.size_bytes >> 20)
            for key, truth in images.items() if truth.parent is None
        ],
        clones=[
            CloneInfo(key, truth.parent[1], ",".join(truth.guests))
            for key, truth in images.items() if truth.parent is not None
        ],
        **{"status": "ok", "status_msg": "", **changes},
    )  # fmt: skip
    document = ImageStorageInfo(
        hosts=["flexdev01"], volumes=[], external_volumes=[volume], gluster_volumes=[], disks=[]
    )
    truth = VolumeTruth(
        volume=declared,
        status=volume.status,
        status_msg=volume.status_msg,
        images=dict(images),
        seen_at=SEEN_AT,
    )
    return StorageTruth(document=document, volumes={"home_flexvdi": truth}, disks=DISKS)


def knows(*storages: ImageStorage, **more: Any) -> Known:
    """What is known of hosts and guests: by default that the storage's host has not reported."""
    declaration = Declaration(
        host_id="flexdev01", image_storages={one.image_storage_id: one for one in storages}
    )
    values = {"views": {}, "reports": {}, "started_at": SEEN_AT, "now": SEEN_AT}
    return Known(declaration=declaration, **{**values, **more})


class StandIn:
    """What `api.contract.Manager` asks for, over fixed storages."""

    def __init__(self, storages: Mapping[str, StorageTruth] | None = None, *, ready: bool = True) -> None:
        self.ready = ready
        given = {"internal": storage(HOME)} if storages is None else storages
        self._truth = Truth(storages=dict(given), memory=Memory(), valid_until=0.0)
        self._published = {key: publish(msgspec.json.encode(one.document)) for key, one in given.items()}
        self.events = Events()
        self.access = Access(Kept(), time)
        self.administrator = self.access.make("person", name="ana", role="administrator")[1]
        self.viewer = self.access.make("person", name="vic", role="viewer")[1]
        self.loop: asyncio.AbstractEventLoop | None = None
        self.events.add({key: Step(one.etag, None) for key, one in self._published.items()})
        rows = [
            ImageStorageBasicInfo(image_storage_id=key, hosts=one.document.hosts)
            for key, one in given.items()
        ]
        self._listing = publish(msgspec.json.encode(rows))
        self.knows = knows(
            *(ImageStorage(image_storage_id=key, hosts=("flexdev01",), volumes=()) for key in given)
        )

    def storages(self) -> tuple[str, ...]:
        return tuple(self._published)

    def published(self, image_storage_id: str) -> Published | None:
        return self._published.get(image_storage_id)

    def listing(self) -> Published:
        return self._listing

    def truth(self) -> Truth:
        return self._truth

    def known(self) -> Known:
        return self.knows

    def call(self, function: Callable[..., object], *arguments: object) -> None:
        """Calls it on the event loop that answers, where a manager does what it does; waits for its end."""

        async def called() -> None:
            function(*arguments)

        assert self.loop is not None
        asyncio.run_coroutine_threadsafe(called(), self.loop).result(10)


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)


def ask(
    app: ASGIApp,
    target: str | bytes,
    *headers: tuple[str, str],
    method: str = "GET",
    host: str | None = "127.0.0.1:8017",
    http_version: str = "1.1",
    token: str = "",
    body: bytes = b"",
) -> Answer:
    """One request to the application, as uvicorn would hand it over."""
    return asyncio.run(
        asking(
            app, target, *headers,
            method=method, host=host, http_version=http_version, token=token, body=body,
        )
    )  # fmt: skip


async def asking(
    app: ASGIApp,
    target: str | bytes,
    *headers: tuple[str, str],
    method: str = "GET",
    host: str | None = "127.0.0.1:8017",
    http_version: str = "1.1",
    token: str = "",
    body: bytes = b"",
) -> Answer:
    """As `ask`, in a running event loop."""
    from urllib.parse import unquote

    raw_path, _, query = (target.encode() if isinstance(target, str) else target).partition(b"?")
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    all_headers = [("host", host)] if host is not None else []
    if token:
        all_headers.append(("authorization", f"Bearer {token}"))
    scope: Any = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": http_version,
        "method": method, "scheme": "http", "path": unquote(raw_path.decode("ascii")), "raw_path": raw_path,
        "query_string": query, "root_path": "", "client": ("127.0.0.1", 40000), "server": ("127.0.0.1", 8017),
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in [*all_headers, *headers]],
        "state": {},
    }  # fmt: skip
    await app(scope, receive, send)
    start = sent[0]
    names = [name for name, _ in start["headers"]]
    assert len(names) == len(set(names)), f"a header twice: {names}"
    return Answer(
        start["status"],
        {name.decode(): value.decode("latin-1") for name, value in start["headers"]},
        b"".join(message.get("body", b"") for message in sent[1:]),
    )


@contextmanager
def served(
    manager: StandIn, tls: ssl.SSLContext | None = None, connection: type[Connection] = Connection
) -> Iterator[str]:
    """The API on a free port of this machine, as `storekeeper serve` does it; gives its URL. With `tls` as
    off loopback.
    """
    bound = listening("127.0.0.1:0")
    server = Server(create_app(manager, "standin", on_loopback=tls is None), tls, connection)
    started = threading.Event()

    async def serving() -> None:
        manager.loop = asyncio.get_running_loop()
        started.set()
        await server.serve(sockets=[bound])

    thread = threading.Thread(target=lambda: uvloop.run(serving()))
    thread.start()
    started.wait()
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{bound.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        bound.close()
