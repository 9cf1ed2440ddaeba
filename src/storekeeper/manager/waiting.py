"""Waiting for the database, and for what cannot be cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

# Of the database alone: one that hangs must not hold the threads in which all else is done.
_THREADS = ThreadPoolExecutor(16, thread_name_prefix="database")


async def in_thread(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What `call` of the database returns, in a thread. When this is cancelled, it has ended all the same."""
    loop = asyncio.get_running_loop()
    return await to_its_end(loop.run_in_executor(_THREADS, partial(call, *args, **kwargs)))


async def to_its_end(doing: Awaitable[T]) -> T:
    """What `doing` returns. When this is cancelled, it has ended all the same."""
    running = asyncio.ensure_future(doing)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise
