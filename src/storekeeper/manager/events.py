"""The last changes of every document, for those who follow them.

A feed is a ring of changes, one for each storage. Whoever follows holds only a place in it, so that a
thousand followers cost a thousand numbers, and a slow one costs nobody memory: what left the ring is lost to
it, and it starts again from the document.

A change is known by the ETag of the document that it led to. So a client goes on from the document that it
fetched, from whichever manager and over restarts, as long as that document is one of those in the ring.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
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
# What is taken from a feed at once, at most, if it is more than one change.
NEWS_BYTES = 64 << 10
WOKEN_AT_ONCE = 50

encode = msgspec.json.Encoder().encode


class Change(Struct, frozen=True):
    """A change as it is sent: `data` is an encoded DocumentChange, `etag` that of the document after it."""

    etag: str
    data: bytes


class News(NamedTuple):
    """Changes since a place in a feed, and the place after them."""

    changes: list[Change]
    place: int


class Feed:
    """The last changes of one document. Places count the changes since the feed began."""

    def __init__(self, etag: str) -> None:
        self.etag = etag
        self.gone = False
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
        self._bytes += len(change.data)
        while self._changes and (len(self._changes) > KEPT_CHANGES or self._bytes > KEPT_BYTES):
            oldest = self._changes.popleft()
            self._bytes -= len(oldest.data)
            self._base = oldest.etag
            self._first += 1
        self._wake()

    def close(self) -> None:
        """There is no such storage any more; tells all who follow."""
        self.gone = True
        self._wake()

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
            size += len(change.data)
            if changes and size > NEWS_BYTES:
                break
            changes.append(change)
        return News(changes, place + len(changes))

    def wake(self, event: asyncio.Event) -> None:
        """Sets this event whenever there is news, until `leave`."""
        self._waiting.add(event)

    def leave(self, event: asyncio.Event) -> None:
        """This one follows no more."""
        self._waiting.discard(event)

    def _wake(self) -> None:
        self._wake_some(list(self._waiting))

    def _wake_some(self, waiting: list[asyncio.Event]) -> None:
        """A few at a time, so that a thousand who then send do not hold up requests."""
        for event in waiting[:WOKEN_AT_ONCE]:
            event.set()
        if len(waiting) > WOKEN_AT_ONCE:
            asyncio.get_running_loop().call_soon(self._wake_some, waiting[WOKEN_AT_ONCE:])


class Step(NamedTuple):
    """What became of one document: the change, or None where there is nothing to follow it from."""

    etag: str
    change: Change | None


class Events:
    """The feeds of all storages. Everything happens on the event loop, save `steps`."""

    def __init__(self) -> None:
        self._feeds: dict[str, Feed] = {}

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
                self._feeds[image_storage_id] = Feed(step.etag)
            elif step.change is not None:
                feed.add(step.change)


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
            change = Change(etag=now.etag, data=encode(difference(old.document, new.document)))
        found[image_storage_id] = Step(etag=now.etag, change=change)
    return found
