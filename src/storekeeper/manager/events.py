"""The last changes of every document, for those who follow them.

A feed is a ring of changes, one for each storage. Whoever follows holds only a place in it, so that a
thousand followers cost a thousand numbers, and a slow one costs nobody memory: what left the ring is lost to
it, and it starts again from the document. A change is encoded once for all of them, and a few at a time have
their turn to send it.

A change is known by the ETag of the document that it led to. So a client goes on from the document that it
fetched, from whichever manager and over restarts, as long as that document is one of those in the ring.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import NamedTuple

import msgspec
from msgspec import Struct

from storekeeper.document_changes import difference
from storekeeper.manager.published import Published
from storekeeper.merge.truth import Truth

# What a feed remembers at most. A client that was away for longer fetches the document.
KEPT_CHANGES = 1000
KEPT_BYTES = 1 << 20
# And all feeds together.
ALL_KEPT_BYTES = 1 << 26
# What is taken from a feed at once, at most, if it is more than one change.
NEWS_BYTES = 64 << 10
# So many may send in one turn of the event loop: that takes some 2 ms.
TURNS_AT_ONCE = 25

encode = msgspec.json.Encoder().encode


class Change(Struct, frozen=True):
    """A change as it is sent: `event` has an encoded DocumentChange, `etag` is the document's after it."""

    etag: str
    event: bytes


def event(name: str, etag: str, data: bytes) -> bytes:
    """A server-sent event (HTML Living Standard, 9.2) whose id is this ETag."""
    return b"id: %s\nevent: %s\ndata: %s\n\n" % (etag.encode(), name.encode(), data)


class Turns:
    """Who may send next, first come first served: a few in each turn of the event loop, so that however many
    followers there are, and however much they send, requests are answered meanwhile.
    """

    def __init__(self) -> None:
        self._queue: OrderedDict[asyncio.Event, None] = OrderedDict()
        self._granting = False

    def ask(self, events: Iterable[asyncio.Event]) -> None:
        """Sets each of these once it is its turn."""
        self._queue.update(dict.fromkeys(events))
        if self._queue and not self._granting:
            self._granting = True
            asyncio.get_running_loop().call_soon(self._grant)

    def _grant(self) -> None:
        for _ in range(min(TURNS_AT_ONCE, len(self._queue))):
            self._queue.popitem(last=False)[0].set()
        self._granting = bool(self._queue)
        if self._granting:
            asyncio.get_running_loop().call_soon(self._grant)


class News(NamedTuple):
    """Changes since a place in a feed, and the place after them."""

    changes: list[Change]
    place: int


class Feed:
    """The last changes of one document. Places count the changes since the feed began."""

    def __init__(self, etag: str, turns: Turns) -> None:
        self.etag = etag
        self.turns = turns
        self.gone = False
        self.kept_bytes = KEPT_BYTES
        self._changes: deque[Change] = deque()
        self._bytes = 0
        # The ETag of the document before the oldest change that is kept, and that change's place.
        self._base = etag
        self._first = 0
        self._waiting: set[asyncio.Event] = set()

    @property
    def end(self) -> int:
        """The place after the last change."""
        return self._first + len(self._changes)

    @property
    def followers(self) -> int:
        """How many follow it now."""
        return len(self._waiting)

    def add(self, change: Change) -> None:
        """The document changed; wakes all who follow."""
        self.etag = change.etag
        self._changes.append(change)
        self._bytes += len(change.event)
        while self._changes and (len(self._changes) > KEPT_CHANGES or self._bytes > self.kept_bytes):
            oldest = self._changes.popleft()
            self._bytes -= len(oldest.event)
            self._base = oldest.etag
            self._first += 1
        self.turns.ask(self._waiting)

    def close(self) -> None:
        """There is no such storage any more; tells all who follow."""
        self.gone = True
        self.turns.ask(self._waiting)

    def place_of(self, etag: str) -> int | None:
        """Where to go on with the document of this ETag; None when that is not known (any more)."""
        for back, change in enumerate(reversed(self._changes)):
            if change.etag == etag:
                return self.end - back
        return self._first if etag == self._base else None

    def since(self, place: int) -> News | None:
        """What came since, some of it when it is much; None when some of it is not kept any more."""
        if place < self._first:
            return None
        changes: list[Change] = []
        size = 0
        for change in islice(self._changes, place - self._first, None):
            size += len(change.event)
            if changes and size > NEWS_BYTES:
                break
            changes.append(change)
        return News(changes, place + len(changes))

    def wake(self, follower: asyncio.Event) -> None:
        """Sets this event in its turn whenever there is news, until `leave`."""
        self._waiting.add(follower)

    def leave(self, follower: asyncio.Event) -> None:
        """This one follows no more."""
        self._waiting.discard(follower)


class Step(NamedTuple):
    """What became of one document: the change, or None where there is nothing to follow it from."""

    etag: str
    change: Change | None


class Events:
    """The feeds of all storages. Everything happens on the event loop, save `steps`."""

    def __init__(self) -> None:
        self._feeds: dict[str, Feed] = {}
        self._turns = Turns()

    def feed(self, image_storage_id: str) -> Feed | None:
        """The feed of one storage."""
        return self._feeds.get(image_storage_id)

    def add(self, steps: Mapping[str, Step]) -> None:
        """Takes the steps of one publishing, which name every storage that there is."""
        for image_storage_id in self._feeds.keys() - steps.keys():
            self._feeds.pop(image_storage_id).close()
        for image_storage_id, step in steps.items():
            feed = self._feeds.get(image_storage_id)
            if feed is None:
                self._feeds[image_storage_id] = Feed(step.etag, self._turns)
            elif step.change is not None:
                feed.add(step.change)
        for feed in self._feeds.values():
            feed.kept_bytes = min(KEPT_BYTES, ALL_KEPT_BYTES // len(self._feeds))


def steps(
    former: Truth, truth: Truth, known: Mapping[str, Published], published: Mapping[str, Published]
) -> dict[str, Step]:
    """From the former truth and its bytes to this one. Takes a few ms for each document that changed."""
    found = {}
    for image_storage_id, now in published.items():
        before = known.get(image_storage_id)
        change = None
        if before is not None and before.etag != now.etag:
            old, new = former.storages[image_storage_id], truth.storages[image_storage_id]
            data = encode(difference(old.document, new.document))
            change = Change(etag=now.etag, event=event("change", now.etag, data))
        found[image_storage_id] = Step(etag=now.etag, change=change)
    return found
