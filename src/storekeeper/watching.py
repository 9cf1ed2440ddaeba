"""Keeping a document true: fetch it, take every change into it, fetch it anew where changes were missed.

>>> with Client("http://127.0.0.1:8017") as client:      # doctest: +SKIP
...     for seen in watch(client, "internal"):
...         print(seen.etag, len(seen.document.disks))
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing

import msgspec
from msgspec import Struct

from storekeeper.client import Client
from storekeeper.document import ImageStorageInfo
from storekeeper.document_changes import DocumentChange, patched
from storekeeper.errors import NotKnown, NotThere

# Between tries to reach a manager again: random, up to this, which doubles from the shortest to the longest.
SHORTEST_S = 1.0
LONGEST_S = 30.0


class Seen(Struct, frozen=True, kw_only=True):
    """The document as it is now. `change` made it of the one before; None when it was fetched (anew)."""

    document: ImageStorageInfo
    etag: str
    change: DocumentChange | None = None


class _Event(Struct, frozen=True):
    kind: str
    id: str
    data: bytes


def watch(
    client: Client, image_storage_id: str, wait: Callable[[float], None] = time.sleep
) -> Iterator[Seen]:
    """The document of a storage, and again after every change; ends when the storage is gone.

    A manager that is lost later is tried again for ever, after pauses that `wait` makes (seconds). The
    client can ask nothing else meanwhile.

    Raises:
        NotThere: there is no such storage.
        NotKnown: no manager answers at first.
        Refused, NotAuthenticated: this client may not see it (any more).
    """
    yield (first := _fetched(client, image_storage_id))
    seen: Seen | None = first
    pause_s = SHORTEST_S
    while True:
        try:
            if seen is None:
                seen = _fetched(client, image_storage_id)
                yield seen
            with closing(_events(client.lines(image_storage_id, seen.etag))) as events:
                for event in events:
                    if event.kind == "gone":
                        return
                    if event.kind not in {"change", "reset"}:
                        continue
                    seen = _following(seen, event)
                    if seen is None:
                        break
                    pause_s = SHORTEST_S
                    yield seen
        except NotThere:
            return
        except NotKnown:
            pause_s = min(2 * pause_s, LONGEST_S)
        wait(random.uniform(0, pause_s))  # noqa: S311  no secret


def _fetched(client: Client, image_storage_id: str) -> Seen:
    body, etag = client.tagged(image_storage_id)
    try:
        return Seen(document=msgspec.json.decode(body, type=ImageStorageInfo), etag=etag)
    except msgspec.DecodeError as error:
        raise NotKnown(f"What answered is no manager of this version: {error}.") from error


def _following(seen: Seen, event: _Event) -> Seen | None:
    """What is seen after the event; None where the document is to be fetched anew."""
    if event.kind == "reset":
        return None
    try:
        change = msgspec.json.decode(event.data, type=DocumentChange)
        return Seen(document=patched(seen.document, change), etag=event.id, change=change)
    except msgspec.DecodeError:
        return None


def _events(lines: Iterable[bytes]) -> Generator[_Event]:
    """The events of a stream; one that was cut off is none (HTML Living Standard, 9.2.6)."""
    kind, event_id, data = "", "", b""
    for line in lines:
        if line == b"\n":
            if kind:
                yield _Event(kind, event_id, data)
            kind, data = "", b""
            continue
        name, _, value = line.removesuffix(b"\n").partition(b": ")
        if name == b"event":
            kind = value.decode(errors="replace")
        elif name == b"id":
            event_id = value.decode(errors="replace")
        elif name == b"data":
            data += value
