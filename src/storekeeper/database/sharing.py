"""How several managers write one database without losing each other's changes.

A row of REPORTS or MEMORY names its last change in `step`. Whoever changes it says on which step this
follows; where another was quicker, nothing is changed. No two changes have the same step, so that what was
written to a database that was put back is never taken for what follows on the steps that it lost. Rows are
locked in one order everywhere, hosts before memory, so that nobody waits for one who waits for him.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, Select, Table, bindparam, delete, extract, func, insert, select

from storekeeper.database.rows import put, put_missing
from storekeeper.database.steps import (
    Applied,
    Dropped,
    Forgotten,
    HostWrite,
    Kept,
    Logged,
    Looked,
    Mark,
    MemoryWrite,
    logged_as,
)
from storekeeper.database.tables import MEMORY, REPORTS, STEPS
from storekeeper.merge.truth import Remembered

# How long, by the database's clock, the log tells what was changed; and what it tells at most of one write.
KEPT_S = 60.0
LOGGED_BYTES = 256 << 10
# No fact is encoded in less.
FACT_BYTES = 16
# Held by whoever shortens the log; any number that nobody else uses.
PRUNING_LOCK = 0x53746F72_00000003

_NOW = extract("epoch", func.clock_timestamp())
_LOGGED = (
    select(STEPS.c.step, STEPS.c.after, STEPS.c.mark, STEPS.c.steps)
    .where(STEPS.c.host_id == bindparam("host_id"), STEPS.c.step > bindparam("known"))
    .order_by(STEPS.c.step)
)

AnyRow = Row[*tuple[Any, ...]]

_encode = msgspec.msgpack.Encoder().encode
_decode_mark = msgspec.msgpack.Decoder(Mark).decode
_decode_steps = msgspec.msgpack.Decoder(list[Looked | Dropped]).decode
_decode_remembered = msgspec.msgpack.Decoder(Remembered).decode

# --- rows that name their last change -----------------------------------------------------------


def put_marks(connection: Connection, writes: Iterable[HostWrite]) -> dict[str, Mark | None]:
    """Writes marks, and locks their rows; returns what is there instead of those that do not follow on it."""
    rows = {each.mark.host_id: (each.after, each.mark.step, _encode(each.mark)) for each in writes}
    refused = _follow(connection, REPORTS, rows)
    return {host_id: _decode_mark(row.value) if row else None for host_id, row in refused.items()}


def put_memory(connection: Connection, memory: Mapping[str, MemoryWrite]) -> dict[str, Kept | None]:
    """The same of what is remembered of volumes."""
    rows = {key: (each.after, each.kept.step, _encode(each.kept.value)) for key, each in memory.items()}
    refused = _follow(connection, MEMORY, rows)
    return {key: _kept(row) if row else None for key, row in refused.items()}


def read_marks(connection: Connection, host_ids: Iterable[str] | None = None) -> dict[str, Mark]:
    """The marks of these hosts, or of all, as far as they are there."""
    return {row.host_id: _decode_mark(row.value) for row in _read(connection, REPORTS, host_ids)}


def read_memory(connection: Connection, keys: Iterable[str] | None = None) -> dict[str, Kept]:
    """The same of what is remembered of volumes."""
    return {row.volume_key: _kept(row) for row in _read(connection, MEMORY, keys)}


def other_memory(connection: Connection, steps: Mapping[str, int]) -> dict[str, Kept | None]:
    """What is remembered of those volumes that are not at this step (0: nothing); None: nothing."""
    found = select(MEMORY.c.volume_key, MEMORY.c.step).where(MEMORY.c.volume_key.in_(list(steps)))
    there = {row.volume_key: row.step for row in connection.execute(found)}
    other = [key for key, step in steps.items() if there.get(key, 0) != step]
    memory = read_memory(connection, other) if other else {}
    return {key: memory.get(key) for key in other}


def _follow(
    connection: Connection, table: Table, rows: Mapping[str, tuple[int, int, bytes]]
) -> dict[str, AnyRow | None]:
    """Writes the rows, each given with the step that it follows on and its own, that follow on what is there;
    returns what is there instead of the others.
    """
    if not rows:
        return {}
    (key,) = table.primary_key
    # What is not there cannot be locked.
    firsts = [name for name in sorted(rows) if rows[name][0] == 0]
    put_missing(connection, table, [{key.name: name, "step": 0, "value": b""} for name in firsts])
    there = {row[0]: row for row in connection.execute(_of(table, rows).order_by(key).with_for_update())}
    refused = {
        name: there.get(name)
        for name, (after, _, _) in rows.items()
        if after != (there[name].step if name in there else 0)
    }
    written = [
        {key.name: name, "step": step, "value": value}
        for name, (_, step, value) in rows.items()
        if name not in refused
    ]
    put(connection, table, written)
    return refused


def _read(connection: Connection, table: Table, names: Iterable[str] | None) -> Iterable[AnyRow]:
    return connection.execute(select(table) if names is None else _of(table, names))


def _of(table: Table, names: Iterable[str]) -> Select[Any]:
    (key,) = table.primary_key
    return select(table).where(key.in_(list(names)))


def _kept(row: AnyRow) -> Kept:
    return Kept(row.step, _decode_remembered(row.value))


# --- the log ------------------------------------------------------------------------------------


def log(connection: Connection, writes: Sequence[HostWrite]) -> None:
    """Logs what was written, for the other managers."""
    rows = [
        {
            "host_id": each.mark.host_id,
            "step": each.mark.step,
            "after": each.after,
            "mark": _encode(each.mark),
            "steps": _logged(each.steps),
        }
        for each in writes
    ]
    if rows:
        connection.execute(insert(STEPS).values(at=_NOW), rows)


def prune(connection: Connection) -> None:
    """Forgets what was logged too long ago, unless another manager is at it."""
    if connection.scalar(select(func.pg_try_advisory_xact_lock(PRUNING_LOCK))):
        connection.execute(delete(STEPS).where(STEPS.c.at < _NOW - KEPT_S))


def since(connection: Connection, steps: Mapping[str, int]) -> dict[str, list[Logged]]:
    """What was written of each host after that step of it. Where the log does not tell it all, as of a
    database that was put back, the end is the mark that is there, without steps. Nothing: no mark is there.
    """
    marks = read_marks(connection, steps)
    found: dict[str, list[Logged]] = {
        host_id: [] for host_id, known in steps.items() if known and host_id not in marks
    }
    for host_id, last in marks.items():
        known = steps[host_id]
        if last.step != known:
            rows = connection.execute(_LOGGED, {"host_id": host_id, "known": known}).all()
            found[host_id] = list(_contiguous(rows, known, last))
    return found


def _contiguous(rows: Iterable[AnyRow], known: int, last: Mark) -> Iterator[Logged]:
    for row in rows:
        if row.after != known or row.steps is None:
            break
        try:
            steps = _decode_steps(row.steps)
        except msgspec.DecodeError:
            # A later version of Storekeeper logged what this one does not know.
            break
        yield Logged(mark=_decode_mark(row.mark), after=known, steps=steps)
        known = row.step
    if known != last.step:
        yield Logged(mark=last, after=known, steps=None)


def _logged(steps: Sequence[Applied | Forgotten]) -> bytes | None:
    """The steps as they are logged; None where they are too much."""
    facts = sum(_count(each) for each in steps)
    if facts * FACT_BYTES > LOGGED_BYTES:
        return None
    blob = _encode([logged_as(each) for each in steps])
    return blob if len(blob) <= LOGGED_BYTES else None


def _count(step: Applied | Forgotten) -> int:
    if isinstance(step, Forgotten):
        return 0
    return len(step.look.seen.facts if step.changes.full else step.changes.facts)
