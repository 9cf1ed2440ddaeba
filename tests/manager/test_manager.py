"""The manager applies reports in order, and publishes bytes that change only when the truth does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from storekeeper.database import Store, open_store
from storekeeper.declaration import Declaration
from storekeeper.errors import StoreError
from storekeeper.manager.manager import Manager
from storekeeper.manager.receiving import forgotten
from storekeeper.manager.reports import without
from storekeeper.observation import Fact, Fault, Seen
from storekeeper.report import Changes, changes
from storekeeper.sources.contract import Scope
from tests.merge.builders import declared, external, image, space

VOLUME = external("v")
DECLARATION = declared(VOLUME)


@dataclass
class Desk:
    """A manager with a clock that a test turns, and the scopes that it gave."""

    store: Store = field(default_factory=lambda: open_store("sqlite://"))
    declaration: Declaration = DECLARATION
    now: float = 1_800_000_000.0
    scopes: list[tuple[str, Scope]] = field(default_factory=list)
    answered: bool = True
    manager: Manager = field(init=False)

    def __post_init__(self) -> None:
        self.manager = Manager(
            self.declaration, self.store, self._rescope, lambda: self.answered, clock=lambda: self.now
        )

    def _rescope(self, host_id: str, scopes: list[tuple[str, Scope]]) -> None:
        assert host_id == "h1"
        self.scopes = scopes

    def tell(
        self, source: str, *facts: Fact, scope: str = VOLUME.key, faults: tuple[Fault, ...] = ()
    ) -> None:
        seen = Seen(source=source, scope=scope, facts={fact.key: fact for fact in facts}, faults=faults)
        self.manager.apply("h1", changes(None, seen))

    def tell_all(self, *images: Fact) -> None:
        for source in ("disks", "mounts", "guests", "gluster", "gluster_heals", "ocfs2"):
            self.tell(source, scope="")
        self.tell("space", space(VOLUME))
        self.tell("images", *images)

    def document(self) -> Any:
        published = self.manager.published("s")
        assert published is not None
        return json.loads(published.identity)


def run(scenario: Callable[[], Coroutine[None, None, None]]) -> None:
    asyncio.run(scenario())


def test_reports_become_a_document() -> None:
    async def scenario() -> None:
        desk = Desk()
        desk.tell_all(image("a.qcow2"))
        await desk.manager.publish()
        volume = desk.document()["external_volumes"][0]
        assert (volume["status"], [each["image_id"] for each in volume["images"]]) == ("ok", ["a.qcow2"])

    run(scenario)


def test_a_report_that_changes_nothing_leaves_the_very_same_bytes() -> None:
    async def scenario() -> None:
        desk = Desk()
        desk.tell_all(image("a.qcow2"))
        await desk.manager.publish()
        before = desk.manager.published("s")
        desk.now += 5
        desk.tell_all(image("a.qcow2"))
        await desk.manager.publish()
        assert desk.manager.published("s") is before

    run(scenario)


def test_where_to_look_next_follows_from_what_was_seen() -> None:
    async def scenario() -> None:
        desk = Desk()
        await desk.manager.publish()
        assert ("images", VOLUME.key) not in {(name, scope.key) for name, scope in desk.scopes}
        desk.tell_all()
        await desk.manager.publish()
        assert ("images", VOLUME.key) in {(name, scope.key) for name, scope in desk.scopes}

    run(scenario)


def test_it_is_ready_once_everything_asked_for_has_answered() -> None:
    async def scenario() -> None:
        desk = Desk(answered=False)
        await desk.manager.publish()
        assert not desk.manager.ready
        desk.answered = True
        await desk.manager.publish()
        assert desk.manager.ready

    run(scenario)


def test_where_another_manager_dropped_what_a_change_follows_on_the_agent_looks_anew() -> None:
    async def scenario() -> None:
        desk = Desk()
        await desk.manager.publish()
        desk.tell_all(image("a"))
        await desk.manager.publish()
        key = ("images", VOLUME.key)
        given, told = list(desk.scopes), []
        desk.manager._rescope = lambda _, scopes: told.append([(name, each.key) for name, each in scopes])
        ledger = desk.manager._ledger
        ledger.keep(without(ledger.view("h1"), [key]), ledger.mark("h1"), forgotten("h1", [key]))
        seen = [Seen(source=key[0], scope=key[1], facts={each.key: each for each in facts})
                for facts in ((image("a"),), (image("a"), image("b")))]  # fmt: skip
        desk.manager.apply("h1", changes(*seen))
        assert key not in desk.manager.view("h1").looks
        assert told == [
            [(name, each.key) for name, each in given if (name, each.key) != key],
            [(name, each.key) for name, each in given],
        ]
        desk.manager.apply("h1", changes(None, seen[1]))
        assert sorted(desk.manager.view("h1").looks[key].seen.facts) == ["a", "b"]

    run(scenario)


def test_time_alone_makes_the_truth_stale() -> None:
    async def scenario() -> None:
        desk = Desk()
        desk.tell_all(image("a.qcow2"))
        await desk.manager.publish()
        desk.now = desk.manager.truth().valid_until + 1
        await desk.manager.publish()
        volume = desk.document()["external_volumes"][0]
        assert volume["status"] == "unknown"
        assert [each["image_id"] for each in volume["images"]] == ["a.qcow2"]

    run(scenario)


def test_a_full_report_keeps_what_its_fault_hid() -> None:
    async def scenario() -> None:
        desk = Desk()
        desk.tell_all(image("team/a.qcow2"), image("b.qcow2"))
        fault = Fault(code="denied", text="team: may not be read", hides="team/")
        desk.tell("images", image("b.qcow2"), faults=(fault,))
        await desk.manager.publish()
        images = desk.document()["external_volumes"][0]["images"]
        assert [each["image_id"] for each in images] == ["b.qcow2", "team/a.qcow2"]

    run(scenario)


def test_after_a_restart_the_last_truth_is_there_with_its_age(tmp_path: Path) -> None:
    async def scenario() -> None:
        url = f"sqlite://{tmp_path}/s.db"
        first = Desk(store=open_store(url))
        first.tell_all(image("a.qcow2"))
        await first.manager.publish()
        await first.manager.close()
        again = Desk(store=open_store(url), now=first.now + 3600)
        await again.manager.publish()
        volume = again.document()["external_volumes"][0]
        assert volume["status"] == "unknown"
        assert volume["status_msg"]
        assert [each["image_id"] for each in volume["images"]] == ["a.qcow2"]
        assert again.manager.truth().memory == first.manager.truth().memory
        await again.manager.close()

    run(scenario)


def test_a_database_that_is_away_costs_no_document_and_gets_it_all_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def away(*_: object) -> None:
        raise StoreError("The database does not answer")

    async def scenario() -> None:
        desk = Desk()
        with monkeypatch.context() as patch:
            patch.setattr(desk.store, "put", away)
            desk.tell_all(image("a.qcow2"))
            await desk.manager.publish()
            await desk.manager.write_behind()
            assert desk.document()["external_volumes"][0]["status"] == "ok"
            desk.tell("images", image("b.qcow2"))
            await desk.manager.write_behind()
        await desk.manager.write_behind()
        assert desk.store.stored().views == {"h1": desk.manager.view("h1")}
        kept = {key: each.value for key, each in desk.store.stored().memory.items()}
        assert kept == desk.manager.truth().memory.volumes

    run(scenario)


@pytest.mark.parametrize("count", [1, 3])
def test_changes_are_applied_in_the_order_in_which_they_come(count: int) -> None:
    async def scenario() -> None:
        desk = Desk()
        desk.tell_all(image("a.qcow2"))
        for number in range(count):
            desk.manager.apply(
                "h1",
                Changes(source="images", scope=VOLUME.key, full=False, facts=[image(f"{number}.qcow2")],
                        gone=["a.qcow2"] if number == 0 else [f"{number - 1}.qcow2"], faults=()),
            )  # fmt: skip
        await desk.manager.publish()
        images = desk.document()["external_volumes"][0]["images"]
        assert [each["image_id"] for each in images] == [f"{count - 1}.qcow2"]

    run(scenario)
