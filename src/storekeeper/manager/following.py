"""Takes up what other managers on the same database wrote."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from threading import Thread

import structlog

from storekeeper.database import Store
from storekeeper.database.listening import Subject
from storekeeper.errors import StoreError

log = structlog.get_logger()

AGAIN_AFTER_S = 1.0

Ids = tuple[str, ...]
Heed = Callable[[Ids], Awaitable[object]]


async def follow(store: Store, heeds: Mapping[Subject, Heed]) -> None:
    """Has each subject heeded, with the ids of what changed (none: it may be all), until cancelled.

    What came meanwhile is heeded in one. What cannot be read is read again, until it can.

    Raises:
        ExceptionGroup: of Outdated: another version has the database now.
    """
    loop = asyncio.get_running_loop()
    heard: dict[Subject, asyncio.Queue[Ids]] = {subject: asyncio.Queue() for subject in heeds}

    def told(subject: Subject, ids: Ids) -> None:
        # The listener ends with the store, which may be after the loop.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(heard[subject].put_nowait, ids)

    Thread(target=store.changes, args=(told,), name="changes", daemon=True).start()
    async with asyncio.TaskGroup() as group:
        for subject, heed in heeds.items():
            group.create_task(_heed(subject, heard[subject], heed))


async def _heed(subject: Subject, heard: asyncio.Queue[Ids], heed: Heed) -> None:
    while True:
        news = [await heard.get()]
        while not heard.empty():
            news.append(heard.get_nowait())
        try:
            await heed(() if () in news else tuple({each: None for ids in news for each in ids}))
        except StoreError as error:
            log.warning("not read", subject=subject, error=str(error))
            # The listener may have noticed nothing: it has a connection of its own.
            for ids in news:
                heard.put_nowait(ids)
            await asyncio.sleep(AGAIN_AFTER_S)
