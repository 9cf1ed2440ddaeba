"""What other managers on the same PostgreSQL change, as its LISTEN and NOTIFY tell it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from threading import Event
from typing import Literal, cast, get_args

import psycopg
from sqlalchemy import Connection, Engine, func, select
from sqlalchemy.exc import SQLAlchemyError

Subject = Literal["credentials", "declared"]
SUBJECTS: tuple[Subject, ...] = get_args(Subject)

CHANNEL = "storekeeper"
# How soon it is seen that the listener is to end, and that the server is back.
LOOKED_FOR_END_S = 0.5


def notify(connection: Connection, subject: Subject, sender: str) -> None:
    """Tells everybody else, once this transaction is committed."""
    connection.execute(select(func.pg_notify(CHANNEL, f"{subject} {sender}")))


def listen(engine: Engine, told: Callable[[Subject], None], own: str, ended: Event) -> None:
    """Calls `told` with what another sender than `own` changed, until `ended` is set. Blocks.

    Whenever it begins to listen, be it after the server was away, `told` is called with every subject: what
    changed before was not heard.
    """
    while not ended.is_set():
        try:
            _listen(engine, told, own, ended)
        except (SQLAlchemyError, psycopg.Error):
            ended.wait(LOOKED_FOR_END_S)


def _listen(engine: Engine, told: Callable[[Subject], None], own: str, ended: Event) -> None:
    pooled = engine.raw_connection()
    driver = cast("psycopg.Connection", pooled.driver_connection)
    # Back in the pool it would listen on.
    pooled.detach()
    with closing(driver):
        driver.autocommit = True
        driver.execute(f"LISTEN {CHANNEL}".encode())
        for subject in SUBJECTS:
            told(subject)
        while not ended.is_set():
            for notice in driver.notifies(timeout=LOOKED_FOR_END_S):
                said, _, sender = notice.payload.partition(" ")
                for subject in SUBJECTS:
                    if said == subject and sender != own:
                        told(subject)
