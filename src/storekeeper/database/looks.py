"""Looks and their facts, in the tables and back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import blake2b

import msgspec
from sqlalchemy import ColumnElement, Connection, Table, bindparam, delete, select, true

from storekeeper.database.rows import AT_ONCE, FactRow, Row, add_facts, put, put_facts
from storekeeper.database.steps import Applied, Forgotten, scope_of
from storekeeper.database.tables import FACTS, LOOKS
from storekeeper.merge.truth import HostView, Look
from storekeeper.observation import Fact, Fault, Seen
from storekeeper.report import Headers

_encode = msgspec.msgpack.Encoder().encode
_decode_fact = msgspec.msgpack.Decoder(Fact).decode
_decode_faults = msgspec.msgpack.Decoder(tuple[Fault, ...]).decode

ScopeKey = tuple[str, str, str]


# --- reading ------------------------------------------------------------------------------------


def views(connection: Connection, host_id: str | None = None) -> dict[str, HostView]:
    """The last looks of one host, or of every one; without those that hold what a later version of
    Storekeeper wrote, which are asked anew.
    """
    facts, unread = _facts(connection, host_id)
    looks: dict[str, dict[tuple[str, str], Look]] = {}
    for host, source, scope, faults, at, good_at in connection.execute(
        select(LOOKS).where(_of_host(LOOKS, host_id))
    ):
        if (host, source, scope) not in unread:
            seen = Seen(
                source=source,
                scope=scope,
                facts=facts.get((host, source, scope), {}),
                faults=_decode_faults(faults),
            )
            looks.setdefault(host, {})[source, scope] = Look(seen=seen, at=at, good_at=good_at)
    return {
        host: HostView(host_id=host, looks=those, reported_at=max(look.at for look in those.values()))
        for host, those in looks.items()
    }


def _facts(
    connection: Connection, host_id: str | None
) -> tuple[dict[ScopeKey, dict[str, Fact]], set[ScopeKey]]:
    """The facts by scope, and the scopes of which some cannot be read."""
    facts: dict[ScopeKey, dict[str, Fact]] = {}
    unread: set[ScopeKey] = set()
    headers = Headers()
    columns = select(FACTS.c.host_id, FACTS.c.source, FACTS.c.scope, FACTS.c.fact)
    rows = connection.execute(
        columns.where(_of_host(FACTS, host_id)), execution_options={"yield_per": AT_ONCE}
    )
    for host, source, scope, blob in rows:
        try:
            fact = _decode_fact(blob)
        except msgspec.DecodeError:
            unread.add((host, source, scope))
            continue
        headers.share([fact])
        facts.setdefault((host, source, scope), {})[fact.key] = fact
    return facts, unread


def _of_host(table: Table, host_id: str | None) -> ColumnElement[bool]:
    return true() if host_id is None else table.c.host_id == host_id


# --- writing ------------------------------------------------------------------------------------


def write_steps(connection: Connection, steps: Iterable[Applied | Forgotten]) -> None:
    """Writes what several reports in order come to, each table once.

    Whoever calls this has locked the hosts' rows in `reports`: nobody else writes the same scopes meanwhile.
    """
    batch = _Batch()
    for each in steps:
        batch.add(each)
    put(connection, LOOKS, list(batch.looks.values()))
    if batch.forgotten:
        rows = [_scope_row(scope) for scope in batch.forgotten]
        connection.execute(_DELETE_LOOK, rows)
        connection.execute(_DELETE_FACTS, rows)
    changed: list[FactRow] = []
    gone: list[Row] = []
    for scope, facts in batch.facts.items():
        former = dict(connection.execute(_KEPT, _scope_row(scope)).all()) if scope in batch.cleared else {}
        if scope in batch.cleared and not former:
            add_facts(connection, _rows(scope, facts))
            continue
        # A full report that tells what is known already, as after a restart, writes nothing.
        changed += [row for row in _rows(scope, facts) if former.pop(row[3], None) != row[4]]
        gone += [{**_scope_row(scope), "key_digest": digest} for digest in former]
        gone += [
            {**_scope_row(scope), "key_digest": _digest(key)} for key, fact in facts.items() if fact is None
        ]
    put_facts(connection, changed)
    if gone:
        connection.execute(_DELETE_FACT, gone)


class _Batch:
    """What several reports in order come to. A scope is in `forgotten`, or in `looks` and `facts`."""

    def __init__(self) -> None:
        self.looks: dict[ScopeKey, Row] = {}
        self.facts: dict[ScopeKey, dict[str, Fact | None]] = {}
        self.cleared: set[ScopeKey] = set()
        self.forgotten: set[ScopeKey] = set()

    def add(self, step: Applied | Forgotten) -> None:
        scope = scope_of(step)
        if isinstance(step, Forgotten):
            self.looks.pop(scope, None)
            self.facts.pop(scope, None)
            self.forgotten.add(scope)
            return
        change, seen = step.changes, step.look.seen
        self.looks[scope] = {
            **_scope_row(scope),
            "faults": _encode(seen.faults),
            "at": step.look.at,
            "good_at": step.look.good_at,
        }
        if change.full or scope in self.forgotten:
            self.forgotten.discard(scope)
            self.cleared.add(scope)
            self.facts[scope] = dict(seen.facts)
            return
        facts = self.facts.setdefault(scope, {})
        # What a fault hides stays, whatever is said of it.
        facts.update((key, seen.facts.get(key)) for key in change.gone)
        facts.update((fact.key, fact) for fact in change.facts)


def _rows(scope: ScopeKey, facts: dict[str, Fact | None]) -> Iterator[FactRow]:
    """The facts that are there, in the order of their digests: an index so grows at one end."""
    digests = {_digest(key): fact for key, fact in facts.items() if fact is not None}
    for digest in sorted(digests):
        yield (*scope, digest, _encode(digests[digest]))


def _in_scope(table: Table) -> list[ColumnElement[bool]]:
    return [table.c[name] == bindparam(name) for name in ("host_id", "source", "scope")]


_KEPT = select(FACTS.c.key_digest, FACTS.c.fact).where(*_in_scope(FACTS))
_DELETE_LOOK = delete(LOOKS).where(*_in_scope(LOOKS))
_DELETE_FACTS = delete(FACTS).where(*_in_scope(FACTS))
_DELETE_FACT = delete(FACTS).where(*_in_scope(FACTS), FACTS.c.key_digest == bindparam("key_digest"))


def _digest(key: str) -> bytes:
    return blake2b(key.encode(), digest_size=16).digest()


def _scope_row(scope: ScopeKey) -> Row:
    return dict(zip(("host_id", "source", "scope"), scope, strict=True))
