"""What other managers on the same PostgreSQL change, as its LISTEN and NOTIFY tell it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from threading import Event
from time import monotonic
from typing import Literal, cast, get_args

import msgspec
import psycopg
from sqlalchemy import Connection, Engine, func, select
from sqlalchemy.exc import SQLAlchemyError

Subject = Literal["credentials", "declared", "hosts", "memory"]
SUBJECTS: tuple[Subject, ...] = get_args(Subject)
Told = Callable[[Subject, tuple[str, ...]], None]

CHANNEL = "storekeeper"
# A payload is shorter than 8000 bytes (NOTIFY in the manual of PostgreSQL).
IDS_BYTES = 7_000
# How soon it is seen that the listener is to end, and that the server is back.
LOOKED_FOR_END_S = 0.5
# How soon it is seen what nobody told: that somebody emptied tables, or put them back.
LOOKED_AT_ALL_S = 60.0


class Notice(msgspec.Struct, array_like=True):
    """The payload of one NOTIFY, as JSON. `ids`: what changed of the subject; none: perhaps all of it."""

    subject: Subject
    sender: str
    ids: tuple[str, ...] = ()


_decode = msgspec.json.Decoder(Notice).decode


def notify(connection: Connection, subject: Subject, sender: str, ids: Iterable[str] = ()) -> None:
    """Tells everybody else, once this transaction is committed."""
    for some in _portions(ids):
        payload = msgspec.json.encode(Notice(subject, sender, some)).decode()
        connection.execute(select(func.pg_notify(CHANNEL, payload)))


def _portions(ids: Iterable[str]) -> Iterator[tuple[str, ...]]:
    """As many as one payload holds at a time; at least one portion."""
    some: list[str] = []
    taken = 0
    for each in ids:
        # In quotes, and with a comma.
        more = len(msgspec.json.encode(each)) + 1
        if some and taken + more > IDS_BYTES:
            yield tuple(some)
            some, taken = [], 0
        some.append(each)
        taken += more
    yield tuple(some)


def listen(engine: Engine, told: Told, own: str, ended: Event) -> None:
    """Calls `told` with what another sender than `own` changed, until `ended` is set. Blocks.

    Whenever it begins to listen, be it after the server was away, and once a minute, `told` is called with
    all of every subject: what changed before was not heard, and not everything is told.
    """
    while not ended.is_set():
        try:
            _listen(engine, told, own, ended)
        except (SQLAlchemyError, psycopg.Error):
            ended.wait(LOOKED_FOR_END_S)


def _listen(engine: Engine, told: Told, own: str, ended: Event) -> None:
    pooled = engine.raw_connection()
    driver = cast("psycopg.Connection", pooled.driver_connection)
    # Back in the pool it would listen on.
    pooled.detach()
    with closing(driver):
        driver.autocommit = True
        driver.execute(f"LISTEN {CHANNEL}".encode())
        all_at = monotonic()
        while not ended.is_set():
            if monotonic() >= all_at:
                all_at = monotonic() + LOOKED_AT_ALL_S
                for subject in SUBJECTS:
                    told(subject, ())
            for heard in driver.notifies(timeout=LOOKED_FOR_END_S):
                try:
                    notice = _decode(heard.payload)
                except msgspec.DecodeError:
                    # Of another version, or of somebody else on the same database.
                    continue
                if notice.sender != own:
                    told(notice.subject, notice.ids)
