"""Takes up what other managers on the same database declare, and whom they let in."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from threading import Thread

import structlog

from storekeeper.database import Store
from storekeeper.database.listening import Subject
from storekeeper.errors import StoreError

log = structlog.get_logger()


async def follow(
    store: Store, refresh: Callable[[], object], redeclare: Callable[[], Awaitable[object]]
) -> None:
    """Calls `refresh` (in a thread) when credentials changed and `redeclare` when declarations did.

    Until cancelled. What cannot be read is heard of again once the database answers.
    """
    loop = asyncio.get_running_loop()
    heard: asyncio.Queue[Subject] = asyncio.Queue()

    def told(subject: Subject, _ids: tuple[str, ...]) -> None:
        if subject not in {"credentials", "declared"}:
            return
        # The listener ends with the store, which may be after the loop.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(heard.put_nowait, subject)

    Thread(target=store.changes, args=(told,), name="changes", daemon=True).start()
    while True:
        subject = await heard.get()
        try:
            if subject == "credentials":
                await asyncio.to_thread(refresh)
            else:
                await redeclare()
        except StoreError as error:
            log.warning("not read", subject=subject, error=str(error))
