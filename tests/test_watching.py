"""A client that follows a document holds the manager's own bytes, whatever the connection does to it."""

from __future__ import annotations

import asyncio
import random
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from io import BytesIO
from time import monotonic

import msgspec
import pytest
import uvicorn
import uvloop

from storekeeper.api import create_app
from storekeeper.api.server import Connection, listening
from storekeeper.client import Client
from storekeeper.database import open_store
from storekeeper.declaration import Declaration, Declared, ImageStorage, Volume
from storekeeper.document import ImageStorageInfo
from storekeeper.errors import NotThere
from storekeeper.manager import events as feeds
from storekeeper.manager.manager import Manager
from storekeeper.manager.published import publish_storage
from storekeeper.observation import Fact, Seen
from storekeeper.report import Changes, changes
from storekeeper.watching import Seen as Watched
from storekeeper.watching import watch
from tests.api import standin
from tests.merge import builders

CHANGES = 10_000
LARGEST_BATCH = 6
KEPT = 30
SEED = 20261125
VOLUMES = (builders.external("v"), builders.external("w"), builders.ocfs2("o"), builders.gluster("g"))
NAMES = [f"{directory}desktop_{number}.qcow2" for directory in ("", "team/") for number in range(40)]


@dataclass
class World:
    """A manager of one storage, and a host whose reports a die makes."""

    manager: Manager
    die: random.Random = field(default_factory=lambda: random.Random(SEED))
    published: int = 0
    over: bool = False
    images: dict[str, dict[str, Fact]] = field(default_factory=lambda: {each.key: {} for each in VOLUMES})

    def tell(self, source: str, scope: str, *facts: Fact) -> None:
        seen = Seen(source=source, scope=scope, facts={fact.key: fact for fact in facts}, faults=())
        self.manager.apply("h1", changes(None, seen))

    def begin(self) -> None:
        for source in ("disks", "mounts", "guests", "gluster", "gluster_heals", "ocfs2"):
            self.tell(source, "")
        for volume in VOLUMES:
            self.tell("space", volume.key, builders.space(volume))
            self.tell("images", volume.key)

    def change(self) -> None:
        """One random change, most often of an image."""
        what = self.die.choices(
            (self.image, self.guests, self.space, self.disks, self.gluster), (80, 6, 6, 4, 4)
        )[0]
        what()

    def image(self) -> None:
        volume, name = self.die.choice(VOLUMES), self.die.choice(NAMES)
        images = self.images[volume.key]
        if name in images and self.die.random() < 0.4:
            del images[name]
            facts, gone = [], [name]
        else:
            parent = self.die.choice(NAMES) if self.die.random() < 0.3 else None
            images[name] = builders.image(name, size_mb=self.die.randint(1, 5), parent=parent)
            facts, gone = [images[name]], []
        self.manager.apply(
            "h1",
            Changes(source="images", scope=volume.key, full=False, facts=facts, gone=gone, faults=()),
        )

    def guests(self) -> None:
        paths = [f"{self.die.choice(VOLUMES).mount_point}/{self.die.choice(NAMES)}" for _ in range(10)]
        self.tell("guests", "", *(builders.guest(f"g{place}", path) for place, path in enumerate(paths)))

    def space(self) -> None:
        volume = self.die.choice(VOLUMES)
        sizes = {
            "available_bytes": self.die.randint(0, 1000) * builders.MIB,
            "exists": self.die.random() < 0.9,
        }
        self.tell("space", volume.key, builders.space(volume, **sizes))

    def disks(self) -> None:
        letters = self.die.sample("bcdefgh", self.die.randint(0, 7))
        self.tell("disks", "", *(builders.disk(f"sd{letter}", f"3500{letter}") for letter in letters))

    def gluster(self) -> None:
        states = "".join(self.die.choice("uuud") for _ in range(6))
        self.tell("gluster", "", builders.gluster_volume(states))

    async def ten_thousand_changes(self) -> None:
        left = CHANGES
        while left:
            batch = min(left, self.die.randint(1, LARGEST_BATCH))
            for _ in range(batch):
                self.change()
            left -= batch
            if self.die.random() < 0.02:
                await self.redeclare()
            await self.manager.publish()
            self.published += 1
        self.over = True

    async def redeclare(self) -> None:
        """Other volumes in another order."""
        chosen = tuple(self.die.sample(VOLUMES, self.die.randint(2, 4)))
        await self.manager.declare(lambda _: of(chosen))


def of(volumes: tuple[Volume, ...]) -> Declared:
    storage = ImageStorage(image_storage_id="s", hosts=("h1",), volumes=volumes)
    return Declared(image_storages={"s": storage})


@asynccontextmanager
async def served(manager: Manager) -> AsyncIterator[int]:
    """The manager's API; gives its port."""
    with listening("127.0.0.1:0") as bound:
        config = uvicorn.Config(
            create_app(manager, "h1"), http=Connection, ws="none", lifespan="off", log_config=None,
            access_log=False, timeout_graceful_shutdown=5,
        )  # fmt: skip
        server = uvicorn.Server(config)
        task = asyncio.create_task(server._serve([bound]))
        try:
            yield bound.getsockname()[1]
        finally:
            server.should_exit = True
            await task


@asynccontextmanager
async def bad_line(port: int, die: random.Random) -> AsyncIterator[int]:
    """Leads to the port, and cuts connections after a random number of bytes, wherever that is."""

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, room: int) -> None:
        with suppress(OSError):
            while room > 0 and (data := await reader.read(1 << 14)):
                writer.write(data[:room])
                room -= len(data)
                await writer.drain()
        writer.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, questions = await asyncio.open_connection("127.0.0.1", port)
        room = 20_000 + int(die.expovariate(1 / 20_000))
        await asyncio.gather(
            carry(reader, questions, sys.maxsize), carry(answers, writer, room), return_exceptions=True
        )
        questions.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@dataclass
class Follower:
    """A client in a thread of its own, that checks every document on its way."""

    port: int
    world: World
    seen: Watched | None = None
    taken: int = 0
    fetched: int = 0
    lost: int = 0

    def follow(self) -> None:
        with Client(f"http://127.0.0.1:{self.port}") as client:
            for seen in watch(client, "s", self._wait):
                self.seen = seen
                assert publish_storage(seen.document).etag == seen.etag
                if seen.change is None:
                    self.fetched += 1
                else:
                    self.taken += 1

    def _wait(self, _: float) -> None:
        """Comes back at once, but now and then only when it has missed too much."""
        self.lost += 1
        if self.lost % 5 == 0:
            missed = self.world.published + KEPT + 1
            until(lambda: self.world.over or self.world.published > missed)


def test_ten_thousand_random_changes_over_a_bad_line_leave_the_byte_same_document(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(feeds, "KEPT_CHANGES", KEPT)

    async def scenario() -> None:
        manager = Manager(
            Declaration(host_id="h1", image_storages={}), open_store("sqlite://"), lambda *_: None,
            lambda: True, clock=lambda: builders.NOW,
        )  # fmt: skip
        await manager.declare(lambda _: of(VOLUMES))
        world = World(manager)
        world.begin()
        await manager.publish()
        async with served(manager) as port, bad_line(port, world.die) as bad_port:
            follower = Follower(bad_port, world)
            following = asyncio.create_task(asyncio.to_thread(follower.follow))
            await asyncio.to_thread(until, lambda: follower.seen or following.done())
            await world.ten_thousand_changes()
            published = manager.published("s")
            assert published is not None
            await asyncio.to_thread(
                until, lambda: following.done() or (follower.seen and follower.seen.etag == published.etag)
            )
            if not following.done():
                await manager.declare(lambda _: Declared())
            await following
        assert follower.seen is not None
        assert msgspec.json.encode(follower.seen.document) == published.identity
        assert len(published.identity) > 10_000
        # The line was as bad as it should be, and both ways back were gone.
        assert (follower.lost > 10, follower.fetched > 2, follower.taken > 500) == (True, True, True)

    uvloop.run(scenario())


@pytest.mark.parametrize(
    ("event", "kept"),
    [
        (b'id: e2\nevent: change\ndata: {"hosts":["h2"]}\n\n', True),
        (b'id: e2\nevent: change\ndata: {"hosts":', False),
        (b'id: e2\nevent: change\ndata: {"hosts":3}\n\n', False),
        (b'id: e2\nevent: change\ndata: {"volumes":{"order":["x"]}}\n\n', False),
        (b"id: e2\nevent: reset\ndata: {}\n\n", False),
        (b":\n\nevent: to come\ndata: {}\n\n", False),
    ],
)
def test_only_a_whole_change_that_fits_is_taken(event: bytes, kept: bool) -> None:
    document = ImageStorageInfo(hosts=["h1"], volumes=[], external_volumes=[], gluster_volumes=[], disks=[])

    class OneEvent(Client):
        def tagged(self, image_storage_id: str) -> tuple[bytes, str]:
            return msgspec.json.encode(document), "e1"

        def lines(self, image_storage_id: str, after: str) -> Iterator[bytes]:
            assert after == "e1"
            yield from BytesIO(event)

    class Waited(Exception):
        pass

    def wait(_: float) -> None:
        raise Waited

    seen: list[Watched] = []
    with pytest.raises(Waited):
        take(watch(OneEvent("http://127.0.0.1"), "s", wait), seen)
    assert [each.etag for each in seen] == (["e1", "e2"] if kept else ["e1"])


def test_a_storage_that_is_not_there_cannot_be_watched() -> None:
    with standin.served(standin.StandIn()) as url, Client(url) as client, pytest.raises(NotThere):
        next(watch(client, "internl"))


def take(found: Iterator[Watched], into: list[Watched]) -> None:
    """Each is kept as it comes, whatever ends them."""
    into.extend(found)


def until(true: Callable[[], object]) -> None:
    """Waits for a condition."""
    deadline = monotonic() + 60
    pause = threading.Event()
    while not true():
        assert monotonic() < deadline
        pause.wait(0.002)
