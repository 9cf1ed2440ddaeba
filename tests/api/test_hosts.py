"""GET /hosts and GET /hosts/{id}."""

from __future__ import annotations

from typing import get_type_hints

import pytest

from storekeeper.api import create_app
from storekeeper.client import Client
from storekeeper.declaration import ImageStorage
from storekeeper.document import HostInfo
from storekeeper.errors import NotThere
from storekeeper.merge.hosts import HostReport
from storekeeper.merge.truth import HostView
from tests.api.standin import SEEN_AT, StandIn, ask, knows, served

TWO = StandIn()
TWO.knows = knows(
    ImageStorage(image_storage_id="internal", hosts=("h1", "h2"), volumes=()),
    views={"h1": HostView(host_id="h1", looks={}, reported_at=SEEN_AT)},
    reports={"h1": HostReport(host_id="h1", version="1.2.3", address="192.0.2.1")},
)


def test_hosts_are_listed_with_their_states() -> None:
    answer = ask(create_app(TWO), "/hosts")
    assert answer.status == 200
    assert answer.json == [
        {"host_id": "h1", "status": "running"}, {"host_id": "h2", "status": "unknown"},
    ]  # fmt: skip


def test_the_list_takes_the_parameters_of_lists() -> None:
    app = create_app(TWO)
    assert [row["host_id"] for row in ask(app, "/hosts?status=unknown").json] == ["h2"]
    assert [row["host_id"] for row in ask(app, "/hosts?sort=-host_id&limit=1").json] == ["h2"]
    assert ask(app, "/hosts?colour=red").status == 400


def test_all_that_is_known_of_hosts_may_be_asked_of_the_list() -> None:
    app = create_app(TWO)
    fields = ",".join(get_type_hints(HostInfo))
    assert ask(app, f"/hosts?fields={fields}").json == [
        ask(app, f"/hosts/{name}").json for name in ("h1", "h2")
    ]
    assert ask(app, "/hosts?agent_version=1.2.3").json == [{"host_id": "h1", "status": "running"}]
    assert ask(app, "/hosts?fields=status,host_address&image_storages=internal&limit=1").json == [
        {"status": "running", "host_address": "192.0.2.1"}
    ]


def test_a_host_is_told_in_full_with_its_numbers_as_text() -> None:
    answer = ask(create_app(TWO), "/hosts/h1").json
    assert answer == {
        "host_id": "h1", "hypervisor": "", "cpu_type": "", "description": "", "physical_cores": "",
        "physical_ram": "", "host_address": "192.0.2.1", "desired_state": "running",
        "current_state": "running", "error_msg": "", "image_storages": ["internal"],
        "agent_version": "1.2.3", "last_report": "2026-01-02T03:04:05+00:00",
    }  # fmt: skip


def test_an_unknown_host_is_404_and_the_nearest_is_suggested() -> None:
    answer = ask(create_app(TWO), "/hosts/h11")
    assert (answer.status, answer.json["code"]) == (404, "not-found")
    assert "'h1'" in answer.json["message"]


def test_hosts_are_known_before_anything_was_looked_at() -> None:
    assert ask(create_app(StandIn(ready=False)), "/hosts").status == 200


def test_the_client_asks_for_them() -> None:
    with served(TWO) as url, Client(url) as client:
        assert [row.host_id for row in client.hosts()] == ["h1", "h2"]
        assert client.host_infos() == [client.host("h1"), client.host("h2")]
        assert client.host("h2").current_state == "unknown"
        with pytest.raises(NotThere, match="'h3'"):
            client.host("h3")
