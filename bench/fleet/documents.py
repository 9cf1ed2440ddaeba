"""Whoever reads documents: until they are whole, and change by change as they are served."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import aiohttp
import msgspec

from bench.fleet.storages import SimulatedStorage
from bench.fleet.timings import Timings
from storekeeper.document import ImageInfo, ImageStorageInfo
from storekeeper.document_changes import DocumentChange

POLL_S = 0.25

_document = msgspec.json.Decoder(ImageStorageInfo).decode
_change = msgspec.json.Decoder(DocumentChange).decode


async def until_served(
    session: aiohttp.ClientSession,
    url: str,
    storages: Iterable[SimulatedStorage],
    timeout_s: float,
    *,
    sizes: bool = True,
) -> bool:
    """Waits until every document shows each image, with its size as it is now; False when it takes longer.

    Without `sizes`: until each shows as many as there are, be it with earlier ones.
    """
    left = list(storages)
    etags: dict[str, str] = {}
    try:
        async with asyncio.timeout(timeout_s):
            while left:
                left = [each for each in left if not await _served(session, url, each, etags, sizes)]
                if left:
                    await asyncio.sleep(POLL_S)
    except TimeoutError:
        return False
    return True


async def _served(
    session: aiohttp.ClientSession,
    url: str,
    storage: SimulatedStorage,
    etags: dict[str, str],
    sizes: bool,
) -> bool:
    headers = {"If-None-Match": etags.get(storage.storage_id, '""')}
    try:
        async with session.get(f"{url}/imagestorages/{storage.storage_id}", headers=headers) as answer:
            body = await answer.read()
    except aiohttp.ClientError:
        return False
    if answer.status != 200:
        return False
    etags[storage.storage_id] = answer.headers["etag"]
    volumes = _document(body).external_volumes
    images = volumes[0].images if volumes else []
    wanted = storage.sizes()
    if not sizes:
        return len(images) == len(wanted)
    return {row.image_id: row.size_mb for row in images} == wanted


async def follow(
    session: aiohttp.ClientSession, url: str, storage: SimulatedStorage, timings: Timings
) -> None:
    """Tells every size that the document comes to show, as its events say, until cancelled."""
    path = f"{url}/imagestorages/{storage.storage_id}"
    while True:
        try:
            async with session.get(f"{path}/events") as answer:
                event = b""
                async for line in answer.content:
                    if line.startswith(b"event:"):
                        event = line[6:].strip()
                    elif line.startswith(b"data:") and event == b"change":
                        change = _change(line[5:])
                        volumes = change.external_volumes.changed if change.external_volumes else []
                        _tell(storage, (row for each in volumes for row in each.images), timings)
                    elif line.startswith(b"data:") and event == b"reset":
                        async with session.get(path) as whole:
                            document = _document(await whole.read())
                        rows = (row for each in document.external_volumes for row in each.images)
                        _tell(storage, rows, timings)
        except (aiohttp.ClientError, msgspec.DecodeError):
            await asyncio.sleep(POLL_S)


def _tell(storage: SimulatedStorage, rows: Iterable[ImageInfo], timings: Timings) -> None:
    for row in rows:
        timings.served(storage.key, row.size_mb)
