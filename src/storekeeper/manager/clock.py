"""The time that managers on one database share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Protocol

import structlog

from storekeeper.errors import StoreError

MEASURED_EVERY_S = 60.0

log = structlog.get_logger()


class Timekeeper(Protocol):
    """A database that knows the time."""

    def time_s(self) -> float:
        """Epoch seconds. Raises StoreError where it does not answer."""


class SharedClock:
    """The database's time in epoch seconds, so that no manager takes for old what another was just told.

    Between two measurements, and while the database is away, it goes on by `steady`, which nobody sets.
    """

    def __init__(self, database: Timekeeper, steady: Callable[[], float] = monotonic) -> None:
        """Raises StoreError where the database does not answer."""
        self._database = database
        self._steady = steady
        self._zero_s = self._measured_zero_s()

    def __call__(self) -> float:
        """The time now."""
        return self._zero_s + self._steady()

    async def keep_right(self) -> None:
        """Measures again and again, until cancelled."""
        while True:
            await asyncio.sleep(MEASURED_EVERY_S)
            await self.put_right()

    async def put_right(self) -> None:
        """Measures once."""
        try:
            self._zero_s = await asyncio.to_thread(self._measured_zero_s)
        except StoreError as error:
            log.warning("time not measured", error=str(error))

    def _measured_zero_s(self) -> float:
        before = self._steady()
        there = self._database.time_s()
        # The answer was on its way for half of the time, as far as is known.
        return there - (before + self._steady()) / 2
