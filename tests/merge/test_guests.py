"""Guests of many hosts: one for each UUID, of what type, where, and what it owns."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from storekeeper.declaration import Declaration
from storekeeper.merge.guests import Guests
from storekeeper.merge.truth import HostView
from storekeeper.observation import Guest
from tests.merge.builders import (
    NOW,
    declared,
    disk_of,
    external,
    guest,
    guests,
    host,
    image,
    images,
    merged,
    spaced,
    views_of,
)

V = external()
HOSTS = ("h1", "h2")
FOUND = images(V, image("base"), image("c", parent="base"), image("d", parent="base"))


def all_guests(*views: HostView, declaration: Declaration | None = None) -> Guests:
    declaration = declaration or declared(V, hosts=HOSTS)
    return Guests(declaration, views_of(*views), merged(declaration, *views), NOW)


def on(name: str, *found: Guest, at: float = NOW, **more: Any) -> HostView:
    return host(spaced(V), FOUND, guests(*found, at=at), name=name, reported_at=at, **more)


def types(*found: Guest) -> dict[str, str]:
    known = all_guests(on("h1", *found))
    return {known.basic(key).guest_id: known.basic(key).guest_type for key in known.definitions}


def test_one_uuid_on_two_hosts_is_one_guest_and_where_it_runs_counts() -> None:
    stopped, running = guest("g", "/v/base"), guest("g", "/v/base", state="running")
    known = all_guests(on("h1", stopped), on("h2", running))
    assert list(known.definitions) == ["uuid-g"]
    info = known.info("uuid-g")
    assert (info.current_state, info.current_host, info.hosts) == ("running", "h2", ["h1", "h2"])
    assert (info.uuid, [each.image_id for each in info.disk_list]) == ("uuid-g", ["base"])


def test_while_it_migrates_the_host_that_runs_it_counts() -> None:
    known = all_guests(on("h1", guest("g", state="paused")), on("h2", guest("g", state="running")))
    assert known.basic("uuid-g").current_host == "h2"


def test_a_guest_that_is_stopped_everywhere_has_no_current_host() -> None:
    basic = all_guests(on("h1", guest("g")), on("h2", guest("g"))).basic("uuid-g")
    assert (basic.current_state, basic.current_host) == ("stopped", "")


def test_of_a_silent_hosts_guest_nothing_is_known_but_where_it_ran() -> None:
    silent = on("h1", guest("g", state="running"), at=NOW - 61)
    basic = all_guests(silent, on("h2")).basic("uuid-g")
    assert (basic.current_state, basic.current_host) == ("unknown", "h1")
    basic = all_guests(silent, on("h2", guest("g"))).basic("uuid-g")
    assert (basic.current_state, basic.current_host) == ("unknown", "h1")


def test_a_guest_that_was_started_on_another_host_after_its_own_fell_silent_runs_there() -> None:
    silent = on("h1", guest("g", state="running"), at=NOW - 61)
    basic = all_guests(silent, on("h2", guest("g", state="running"))).basic("uuid-g")
    assert (basic.current_state, basic.current_host) == ("running", "h2")


def test_a_silent_hosts_stopped_definition_says_less_than_a_fresh_one() -> None:
    known = all_guests(on("h1", guest("g"), at=NOW - 61), on("h2", guest("g")))
    assert known.basic("uuid-g").current_state == "stopped"
    assert all_guests(on("h1", guest("g"), at=NOW - 61)).basic("uuid-g").current_state == "unknown"


def test_two_guests_of_one_name_are_two() -> None:
    other = replace(guest("g"), unique_id="uuid-other")
    known = all_guests(on("h1", guest("g")), on("h2", other))
    assert sorted(known.definitions) == ["uuid-g", "uuid-other"]
    assert sorted(known.named("g")) == ["uuid-g", "uuid-other"]
    assert known.named("uuid-other") == ["uuid-other"]
    assert known.named("x") == []


def test_a_guest_is_a_template_when_others_are_clones_of_its_image_and_they_are_clones() -> None:
    assert types(guest("t", "/v/base"), guest("c", "/v/c"), guest("n")) == {
        "t": "template", "c": "clone", "n": "normal",
    }  # fmt: skip
    known = all_guests(on("h1", guest("t", "/v/base"), guest("c", "/v/c"), guest("d", "/v/d")))
    assert known.info("uuid-t").clone_list == ["c", "d"]
    assert (known.info("uuid-c").parent_template, known.info("uuid-c").clone_list) == ("t", [])


def test_a_guest_on_an_overlay_of_its_own_image_is_normal() -> None:
    desktop = guest("g", disk_of("/v/c", "live"), disk_of("/v/base", "persistent"), state="running")
    assert types(desktop) == {"g": "normal"}


def test_a_clone_whose_parent_no_guest_owns_is_a_clone() -> None:
    assert types(guest("c", "/v/c")) == {"c": "clone"}


def test_a_guest_that_no_host_would_keep_is_volatile() -> None:
    assert types(replace(guest("v", "/v/c", state="running"), persistent=False)) == {"v": "volatile"}


def test_whole_disks_are_listed_apart_from_images() -> None:
    known = all_guests(on("h1", guest("g", "/v/base", replace(disk_of("/dev/sdb"), kind="block"))))
    info = known.info("uuid-g")
    assert (info.direct_disk_list, [each.volume_id for each in info.disk_list]) == (["/dev/sdb"], ["v"])
    assert info.disk_list[0].size_mb == 10


def test_guests_of_hosts_that_nobody_declared_are_not_there() -> None:
    assert all_guests(on("h9", guest("g"))).definitions == {}


def test_a_namesake_in_another_storage_owns_nothing_here() -> None:
    one, two = declared(V, hosts=("h1",)), declared(V, hosts=("h2",), storage="t")
    both = replace(one, image_storages={**one.image_storages, **two.image_storages})
    namesake = host(guests(replace(guest("g"), unique_id="uuid-other")), name="h2")
    known = all_guests(on("h1", guest("g", "/v/base")), namesake, declaration=both)
    assert known.info("uuid-other").disk_list == []
    assert len(known.info("uuid-g").disk_list) == 1
