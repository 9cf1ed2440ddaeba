"""GET /guests and GET /guests/{id}."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from storekeeper.api import create_app
from storekeeper.api.guests import GuestsKept
from storekeeper.client import Client
from storekeeper.declaration import ImageStorage
from storekeeper.merge.truth import HostView, Look
from storekeeper.observation import Guest, Seen
from tests.api.standin import SEEN_AT, StandIn, ask, knows, served


def guest(name: str, unique_id: str = "") -> Guest:
    return Guest(key=name, unique_id=unique_id or f"uuid-{name}", state="running", persistent=True, disks=())


def told(host_id: str, *guests: Guest) -> HostView:
    seen = Seen(source="guests", scope="", facts={each.key: each for each in guests})
    look = Look(seen=seen, at=SEEN_AT, good_at=SEEN_AT)
    return HostView(host_id=host_id, looks={("guests", ""): look}, reported_at=SEEN_AT)


@pytest.fixture(scope="module")
def manager() -> StandIn:
    """The stand-in's storage, of whose images the guest `corus` owns two; and two guests of one name."""
    manager = StandIn()
    manager.knows = knows(
        ImageStorage(image_storage_id="internal", hosts=("flexdev01", "h2"), volumes=()),
        views={
            "flexdev01": told("flexdev01", guest("corus"), guest("twin", "uuid-1")),
            "h2": told("h2", guest("twin", "uuid-2")),
        },
    )
    return manager


def test_guests_are_listed_with_their_states(manager: StandIn) -> None:
    answer = ask(create_app(manager), "/guests?limit=1")
    assert answer.status == 200
    assert answer.json == [
        {
            "guest_id": "corus", "guest_type": "normal", "pool_id": "", "desired_state": "",
            "current_state": "running", "current_host": "flexdev01",
        }
    ]  # fmt: skip
    assert [row["guest_id"] for row in ask(create_app(manager), "/guests").json] == ["corus", "twin", "twin"]
    assert ask(create_app(manager), "/guests?current_host=h2&fields=guest_id").json == [{"guest_id": "twin"}]


def test_a_guest_is_told_with_what_it_owns(manager: StandIn) -> None:
    answer = ask(create_app(manager), "/guests/corus").json
    assert [(each["image_id"], each["size_mb"]) for each in answer["disk_list"]] == [
        ("corus", 20480), ("corus_demo_corus", 20480),
    ]  # fmt: skip
    assert (answer["uuid"], answer["hosts"]) == ("uuid-corus", ["flexdev01"])


def test_guests_of_one_name_are_asked_for_by_uuid(manager: StandIn) -> None:
    answer = ask(create_app(manager), "/guests/twin")
    assert (answer.status, answer.json["code"]) == (409, "conflict")
    assert "uuid-1, uuid-2" in answer.json["message"]
    assert ask(create_app(manager), "/guests/uuid-2").json["hosts"] == ["h2"]


def test_an_unknown_guest_is_404(manager: StandIn) -> None:
    answer = ask(create_app(manager), "/guests/coru")
    assert (answer.status, answer.json["code"]) == (404, "not-found")
    assert "'corus'" in answer.json["message"]


def test_guests_are_made_once_for_each_truth(manager: StandIn) -> None:
    async def asked() -> None:
        kept, truth, known = GuestsKept(), manager.truth(), manager.known()
        first, *same = await asyncio.gather(*(kept.of(truth, known) for _ in range(3)))
        assert all(guests is first for guests in same)
        assert await kept.of(replace(truth), known) is not first

    asyncio.run(asked())


def test_guests_are_made_anew_when_time_alone_changed_what_is_known_of_them(manager: StandIn) -> None:
    async def asked() -> None:
        kept, truth, known = GuestsKept(), manager.truth(), manager.known()
        first = await kept.of(truth, known)
        assert first.basic("uuid-corus").current_state == "running"
        assert await kept.of(truth, replace(known, now=first.valid_until - 0.1)) is first
        for now in (first.valid_until, known.now - 1.0):
            anew = await kept.of(truth, replace(known, now=now))
            assert anew is not first
        silent = await kept.of(truth, replace(known, now=first.valid_until))
        assert silent.basic("uuid-corus").current_state == "unknown"

    asyncio.run(asked())


def test_before_anything_was_looked_at_guests_are_not_known(manager: StandIn) -> None:
    starting = StandIn(ready=False)
    starting.knows = manager.knows
    assert ask(create_app(starting), "/guests").status == 503


def test_the_client_asks_for_them_page_after_page(manager: StandIn) -> None:
    with served(manager) as url, Client(url) as client:
        assert [row.guest_id for row in client.guests({"limit": ["1"]})] == ["corus", "twin", "twin"]
        assert client.guest("uuid-1").current_host == "flexdev01"
