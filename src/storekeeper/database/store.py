"""The store: first looks, decided parents, and the last look of every source (which is the header cache).

All of it but `memory` is what agents would say again, so a lost transaction costs a reread, never the
truth. WAL with `synchronous=NORMAL`: consistent after a kill at any moment.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from storekeeper.errors import DeclarationError, NotKnown
from storekeeper.merge.truth import HostView, Look, Memory
from storekeeper.observation import Fact, Fault, Seen
from storekeeper.report import Changes

# Raised when the tables or the facts in them change shape: what older versions kept is then asked anew,
# save `memory`, whose fields only ever grow.
SHAPE = 1

_TABLES = """
CREATE TABLE IF NOT EXISTS memory (id INTEGER PRIMARY KEY CHECK (id = 1), value BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS looks (
    host_id TEXT, source TEXT, scope TEXT, faults BLOB NOT NULL, at REAL NOT NULL, good_at REAL NOT NULL,
    PRIMARY KEY (host_id, source, scope)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS facts (
    host_id TEXT, source TEXT, scope TEXT, key TEXT, fact BLOB NOT NULL,
    PRIMARY KEY (host_id, source, scope, key)) WITHOUT ROWID;
"""

_encode = msgspec.msgpack.Encoder().encode
_decode_fact = msgspec.msgpack.Decoder(Fact).decode
_decode_faults = msgspec.msgpack.Decoder(tuple[Fault, ...]).decode
_decode_memory = msgspec.msgpack.Decoder(Memory).decode


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """A report as the manager applied it: what to write so that the store holds the same look."""

    host_id: str
    changes: Changes
    look: Look


class Store:
    """One SQLite file (or memory). Used by one thread at a time."""

    def __init__(self, path: str) -> None:
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=NORMAL")
        with self._connection:
            self._connection.executescript(_TABLES)
            if self._connection.execute("PRAGMA user_version").fetchone()[0] != SHAPE:
                self._connection.executescript("DELETE FROM facts; DELETE FROM looks")
                self._connection.execute(f"PRAGMA user_version={SHAPE}")

    def close(self) -> None:
        """Ends the connection; the file is whole."""
        self._connection.close()

    def memory(self) -> Memory:
        """What the merge remembered last, or nothing."""
        row = self._connection.execute("SELECT value FROM memory").fetchone()
        return _decode_memory(row[0]) if row else Memory()

    def views(self) -> dict[str, HostView]:
        """The last looks of every host, as they were written."""
        looks: dict[str, dict[tuple[str, str], Look]] = {}
        facts: dict[tuple[str, str, str], dict[str, Fact]] = {}
        for host_id, source, scope, key, blob in self._connection.execute("SELECT * FROM facts"):
            facts.setdefault((host_id, source, scope), {})[key] = _decode_fact(blob)
        for host_id, source, scope, faults, at, good_at in self._connection.execute("SELECT * FROM looks"):
            seen = Seen(
                source=source,
                scope=scope,
                facts=facts.get((host_id, source, scope), {}),
                faults=_decode_faults(faults),
            )
            looks.setdefault(host_id, {})[source, scope] = Look(seen=seen, at=at, good_at=good_at)
        return {
            host_id: HostView(
                host_id=host_id, looks=those, reported_at=max(look.at for look in those.values())
            )
            for host_id, those in looks.items()
        }

    def write(self, applied: Iterable[Applied], memory: Memory | None) -> None:
        """Writes reports, in order, and the memory if it is given: all of it or nothing."""
        execute, executemany = self._connection.execute, self._connection.executemany
        execute("BEGIN IMMEDIATE")
        try:
            for each in applied:
                change, look = each.changes, each.look
                scope = (each.host_id, change.source, change.scope)
                execute("INSERT OR REPLACE INTO looks VALUES (?, ?, ?, ?, ?, ?)",
                        (*scope, _encode(look.seen.faults), look.at, look.good_at))  # fmt: skip
                rows = change.facts
                if change.full:
                    execute("DELETE FROM facts WHERE host_id=? AND source=? AND scope=?", scope)
                    rows = list(look.seen.facts.values())
                executemany("DELETE FROM facts WHERE host_id=? AND source=? AND scope=? AND key=?",
                            [(*scope, key) for key in change.gone])  # fmt: skip
                executemany("INSERT OR REPLACE INTO facts VALUES (?, ?, ?, ?, ?)",
                            [(*scope, fact.key, _encode(fact)) for fact in rows])  # fmt: skip
            if memory is not None:
                execute("INSERT OR REPLACE INTO memory VALUES (1, ?)", (_encode(memory),))
        except BaseException:
            execute("ROLLBACK")
            raise
        execute("COMMIT")


def open_store(url: str) -> Store:
    """The store that `manager.database` names: `sqlite:///PATH`, or `sqlite://` for one in memory.

    A file that is no database is moved aside, never overwritten: all but first looks will be seen again.

    Raises:
        DeclarationError: another kind of database, or a relative path.
        NotKnown: the file cannot be opened or made.
    """
    parts = urlsplit(url)
    if parts.scheme != "sqlite" or parts.netloc or (parts.path and not parts.path.startswith("//")
                                                    and not parts.path.startswith("/")):  # fmt: skip
        raise DeclarationError("manager.database", f"{url!r} is not served; write sqlite:///PATH")
    if not parts.path:
        return Store(":memory:")
    path = Path(parts.path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _set_aside_if_broken(path)
        return Store(str(path))
    except (OSError, sqlite3.Error) as error:
        raise NotKnown(
            f"The database {path} cannot be opened ({error}); "
            "set manager.database to a place that this user may write"
        ) from error


def _set_aside_if_broken(path: Path) -> None:
    if not path.exists():
        return
    try:
        with closing(sqlite3.connect(path)) as connection:
            sound = connection.execute("PRAGMA quick_check").fetchone()[0] == "ok"
    except sqlite3.DatabaseError:
        sound = False
    if not sound:
        path.replace(path.with_suffix(".broken"))
        for extra in ("-wal", "-shm"):
            Path(f"{path}{extra}").unlink(missing_ok=True)
