"""What the manager remembers over a restart."""

from __future__ import annotations

from pathlib import Path

import pytest

from storekeeper.database import open_store
from storekeeper.database.store import Applied
from storekeeper.errors import DeclarationError, NotKnown
from storekeeper.merge.truth import HostView, Memory
from storekeeper.observation import Fault, Pool, Seen
from storekeeper.report import Changes, changes, received


def pool(name: str, target: str = "/x") -> Pool:
    return Pool(key=name, name=name, kind="dir", target=target)


def seen(*pools: Pool, faults: tuple[Fault, ...] = ()) -> Seen:
    return Seen(source="guests", scope="", facts={each.key: each for each in pools}, faults=faults)


def told(view: HostView, change: Changes, now: float) -> tuple[HostView, Applied]:
    view = received(view, change, now)
    look = view.looks[change.source, change.scope]
    return view, Applied(host_id=view.host_id, changes=change, look=look)


def test_looks_and_memory_come_back_as_they_were(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/deep/er/storekeeper.db"
    store = open_store(url)
    view = HostView(host_id="h1", looks={})
    view, first = told(view, changes(None, seen(pool("a"), pool("b"))), 10.0)
    fault = Fault(code="timed-out", text="no answer")
    view, second = told(
        view, changes(seen(pool("a"), pool("b")), seen(pool("b", "/y"), faults=(fault,))), 20.0
    )
    memory = Memory(filesystem_ids={"s/v": "uuid"}, mount_points=frozenset({"s/v"}))
    store.write([first, second], memory)
    store.close()
    again = open_store(url)
    assert again.views() == {"h1": view}
    assert again.memory() == memory


def test_a_fresh_store_remembers_nothing() -> None:
    store = open_store("sqlite://")
    assert store.views() == {}
    assert store.memory() == Memory()


def test_a_write_that_fails_half_way_leaves_what_was_there(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path}/s.db")
    view, good = told(HostView(host_id="h1", looks={}), changes(None, seen(pool("a"))), 1.0)
    store.write([good], None)
    _, more = told(view, changes(seen(pool("a")), seen(pool("b"))), 2.0)
    broken = Applied(host_id=None, changes=more.changes, look=object())  # type: ignore[arg-type]
    with pytest.raises(AttributeError):
        store.write([more, broken], None)
    assert store.views() == {"h1": view}


def test_a_file_that_is_no_database_is_moved_aside_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "s.db").write_bytes(b"not a database, but perhaps someone's notes" * 100)
    store = open_store(f"sqlite:///{tmp_path}/s.db")
    assert store.views() == {}
    assert (tmp_path / "s.broken").read_bytes().startswith(b"not a database")


@pytest.mark.parametrize(
    "url", ["mysql://x/y", "postgresql://host", "sqlite://relative/path.db", "storekeeper.db"]
)
def test_a_database_that_is_not_served_is_refused_with_what_to_write(url: str) -> None:
    with pytest.raises(DeclarationError, match=r"manager\.database.*sqlite:///PATH"):
        open_store(url)


def test_a_place_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(NotKnown, match=r"manager\.database"):
        open_store(f"sqlite:///{tmp_path}/file/s.db")
