"""Managers on one database have its time, whatever their own clocks say."""

from __future__ import annotations

import asyncio

from storekeeper.errors import StoreError
from storekeeper.manager.clock import SharedClock


class Database:
    """A database whose time a test sets, and which answers after a while."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0
        self.steady = 50.0
        self.away = False

    def time_s(self) -> float:
        if self.away:
            raise StoreError("away")
        self.steady += 0.1
        there = self.now
        self.steady += 0.1
        return there


def test_it_is_the_databases_time_in_the_middle_of_asking_for_it() -> None:
    database = Database()
    clock = SharedClock(database, lambda: database.steady)
    assert round(clock() - database.now, 6) == 0.1


def test_between_two_measurements_it_goes_on_by_what_nobody_sets() -> None:
    database = Database()
    clock = SharedClock(database, lambda: database.steady)
    before = clock()
    database.steady += 7
    assert round(clock() - before, 6) == 7


def test_it_is_put_right_again_and_goes_on_while_the_database_is_away() -> None:
    database = Database()
    clock = SharedClock(database, lambda: database.steady)
    database.now += 3600
    asyncio.run(clock.put_right())
    assert round(clock() - database.now, 6) == 0.1
    database.away = True
    database.steady += 5
    asyncio.run(clock.put_right())
    assert round(clock() - database.now, 6) == 5.1
