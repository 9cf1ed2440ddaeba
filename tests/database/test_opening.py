"""Opening a database: made, migrated, set aside or refused, and never half."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from storekeeper.database import Store, open_store
from storekeeper.database.steps import Kept
from storekeeper.database.tables import METADATA
from storekeeper.declaration import Declared, Host
from storekeeper.errors import DeclarationError, NotKnown
from storekeeper.merge.truth import HostView, Remembered
from storekeeper.observation import Fault
from storekeeper.report import changes
from tests.database.looks import pool, seen, told, write
from tests.database.postgresql_server import PostgresqlServer

RELEASED = Path(__file__).with_name("released_0_1.sql")


def driver(url: str) -> str:
    return url.replace("postgresql://", "postgresql+psycopg://")


@pytest.fixture
def released(tmp_path: Path) -> Path:
    """A database file of version 0.1."""
    path = tmp_path / "s.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.executescript(RELEASED.read_text(encoding="utf-8"))
    return path


def check_what_0_1_knew(store: Store) -> None:
    look = seen(
        *(pool(name, f"/x/{name}") for name in ("a", "b", "ü d'or")),
        faults=(Fault(code="timed-out", text="no answer"),),
    )
    view, _ = told(HostView(host_id="h1"), changes(None, look), 10.0)
    stored = store.stored()
    assert stored.views == {"h1": view}
    assert stored.marks == {}
    kept = Remembered(filesystem_id="uuid", is_mount_point=True, parents={"clone": "image"})
    assert stored.memory == {"s/v": Kept(1, kept)}


def test_a_database_of_version_0_1_is_brought_up_to_date_with_all_it_knew(released: Path) -> None:
    store = open_store(f"sqlite:///{released}")
    check_what_0_1_knew(store)
    declared = store.declare(lambda _: Declared(hosts={"h1": Host(host_id="h1")}))
    store.close()
    again = open_store(f"sqlite:///{released}")
    check_what_0_1_knew(again)
    assert again.declared() == declared
    again.close()


def remembering(released: Path, value: bytes) -> Store:
    """The store that a database of version 0.1 with this memory becomes."""
    with closing(sqlite3.connect(released)) as connection:
        connection.execute("UPDATE memory SET value = ?", (value,))
        connection.commit()
    return open_store(f"sqlite:///{released}")


def test_what_version_0_1_remembered_of_all_volumes_is_remembered_of_each(released: Path) -> None:
    former = {
        "filesystem_ids": {"s/v": "uuid", "s/w": ""},
        "mount_points": ["s/v"],
        "parents": {"s/x": {"clone": "image"}},
        "first_seen": {"s/x": {"clone": 1.5}},
        "spaces": {"s/w": [2, 1]},
        "since": {"s/y": {"heal": 3.5}},
    }
    store = remembering(released, msgspec.msgpack.encode(former))
    assert store.stored().memory == {
        "s/v": Kept(1, Remembered(filesystem_id="uuid", is_mount_point=True)),
        "s/w": Kept(1, Remembered(filesystem_id="", space=(2, 1))),
        "s/x": Kept(1, Remembered(parents={"clone": "image"}, first_seen={"clone": 1.5})),
        "s/y": Kept(1, Remembered(since={"heal": 3.5})),
    }
    store.close()


@pytest.mark.parametrize(
    "value", [b"", b"\xc1", b"\x93\x01\x02\x03", msgspec.msgpack.encode({"spaces": "?"})]
)
def test_a_memory_of_version_0_1_that_cannot_be_read_is_dropped_and_nothing_else(
    released: Path, value: bytes
) -> None:
    store = remembering(released, value)
    stored = store.stored()
    assert stored.memory == {}
    assert stored.views.keys() == {"h1"}
    store.close()


def test_a_migration_that_fails_half_way_leaves_the_database_as_it_was(released: Path) -> None:
    with closing(sqlite3.connect(released)) as connection:
        before = list(connection.iterdump())
        connection.execute("CREATE TABLE hosts (taken)")
    with pytest.raises(NotKnown, match="hosts"):
        open_store(f"sqlite:///{released}")
    with closing(sqlite3.connect(released)) as connection:
        connection.execute("DROP TABLE hosts")
        assert list(connection.iterdump()) == before
    store = open_store(f"sqlite:///{released}")
    check_what_0_1_knew(store)
    store.close()


def test_a_database_that_was_being_made_when_version_0_1_was_killed_is_made_whole(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "s.db")) as connection:
        connection.execute("CREATE TABLE memory (id INTEGER PRIMARY KEY CHECK (id = 1), value BLOB NOT NULL)")
    store = open_store(f"sqlite:///{tmp_path}/s.db")
    assert store.stored().views == {}
    store.close()


def test_the_migrations_lead_to_the_tables_that_the_code_uses(url: str) -> None:
    open_store(url).close()
    engine = sa.create_engine(driver(url))
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, METADATA) == []
    engine.dispose()


def test_managers_that_start_at_once_on_an_empty_database_all_open_it(url: str) -> None:
    with ThreadPoolExecutor(4) as threads:
        stores = list(threads.map(open_store, [url] * 4))
    for store in stores:
        assert store.stored().views == {}
        store.close()


def test_a_database_of_a_later_version_is_refused_and_left_alone(url: str) -> None:
    open_store(url).close()
    engine = sa.create_engine(driver(url))
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num='999'"))
    with pytest.raises(NotKnown, match="later version of Storekeeper"):
        open_store(url)
    with engine.connect() as connection:
        assert connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar() == "999"
    engine.dispose()


def test_a_file_that_is_no_database_is_moved_aside_not_overwritten(tmp_path: Path) -> None:
    for number, name in enumerate(["s.broken", "s.broken2", "s.broken3"]):
        notes = b"not a database, but perhaps someone's notes %d" % number * 100
        (tmp_path / "s.db").write_bytes(notes)
        store = open_store(f"sqlite:///{tmp_path}/s.db")
        assert store.stored().views == {}
        store.close()
        assert (tmp_path / name).read_bytes() == notes


def test_a_database_whose_pages_were_overwritten_is_moved_aside(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    store = open_store(url)
    look = seen(*(pool(f"pool {number}") for number in range(3000)))
    _, applied = told(HostView(host_id="h1"), changes(None, look), 1.0)
    write(store, applied)
    store.close()
    content = (tmp_path / "s.db").read_bytes()
    broken = content[:4096] + b"\xa5" * (len(content) - 4096)
    (tmp_path / "s.db").write_bytes(broken)
    again = open_store(url)
    assert again.stored().views == {}
    again.close()
    assert (tmp_path / "s.broken").read_bytes() == broken


def test_a_database_that_somebody_holds_is_not_taken_for_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storekeeper.database.opening.BUSY_S", 0.05)
    open_store(f"sqlite:///{tmp_path}/s.db").close()
    with closing(sqlite3.connect(tmp_path / "s.db", isolation_level=None)) as holder:
        holder.execute("PRAGMA locking_mode=EXCLUSIVE")
        holder.execute("BEGIN EXCLUSIVE")
        with pytest.raises(NotKnown, match="locked"):
            open_store(f"sqlite:///{tmp_path}/s.db")
    assert not (tmp_path / "s.broken").exists()


@pytest.mark.parametrize(
    "url", ["mysql://x/y", "postgresql://host", "postgresql://host/", "sqlite://relative/path.db", "s.db"]
)
def test_a_database_that_is_not_served_is_refused_with_what_to_write(url: str) -> None:
    with pytest.raises(DeclarationError, match=r"manager\.database.*sqlite:///PATH or postgresql://"):
        open_store(url)


def test_nobody_else_on_the_machine_may_read_what_takes_a_token_elsewhere(tmp_path: Path) -> None:
    store = open_store(f"sqlite://{tmp_path}/s.db")
    store.declare(lambda _: Declared(hosts={"h1": Host(host_id="h1")}))
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    store.close()
    assert {"s.db", "s.db-wal"} <= modes.keys()
    assert set(modes.values()) == {0o600}


def test_a_place_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(NotKnown, match=r"manager\.database"):
        open_store(f"sqlite:///{tmp_path}/file/s.db")


@pytest.mark.needs("postgresql")
def test_a_server_that_has_no_such_database_is_told_apart(postgresql: PostgresqlServer) -> None:
    with pytest.raises(NotKnown, match=r'"nowhere" does not exist.*manager\.database'):
        open_store(postgresql.url("nowhere"))
