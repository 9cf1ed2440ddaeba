"""Whose disk an image is."""

from __future__ import annotations

import pytest

from storekeeper.observation import Pool
from tests.merge.builders import (
    NOW,
    declared,
    disk_of,
    document,
    external,
    gluster,
    guest,
    guests,
    host,
    image,
    images,
    merged,
    spaced,
    truths,
)

V = external()
FOUND = images(V, image("base"), image("c", parent="base"))


def owners(*facts: object) -> dict[str, tuple[str, ...]]:
    found = truths(V, FOUND, guests(*facts))  # type: ignore[arg-type]
    return {key: truth.guests for key, truth in found.items() if truth.guests}


def test_an_image_without_a_guest_has_an_empty_guest_id() -> None:
    volume = document(merged(declared(V), host(spaced(V), FOUND))).external_volumes[0]
    assert (volume.images[0].guest_id, volume.clones[0].guest_id) == ("", "")


@pytest.mark.parametrize("found_in", ["persistent", "live", "snapshot", "mirror"])
def test_a_guest_owns_what_any_of_its_definitions_names(found_in: str) -> None:
    assert owners(guest("g", disk_of("/v/base", found_in))) == {"base": ("g",)}


def test_what_lies_further_down_a_chain_is_not_owned_by_that() -> None:
    assert owners(guest("g", disk_of("/v/c", below=("/v/base",)))) == {"c": ("g",)}


def test_a_desktop_on_a_throw_away_overlay_owns_the_overlay_and_what_its_definition_names() -> None:
    desktop = guest("g", disk_of("/v/c", "live"), disk_of("/v/base", "persistent"), state="running")
    assert owners(desktop) == {"base": ("g",), "c": ("g",)}


def test_of_two_guests_on_one_image_the_running_one_is_named_else_the_first_by_name() -> None:
    assert owners(guest("b", "/v/base"), guest("a", "/v/base")) == {"base": ("a", "b")}
    assert owners(guest("b", "/v/base", state="running"), guest("a", "/v/base")) == {"base": ("b", "a")}
    assert (
        owners(guest("b", "/v/base", state="running"), guest("a", "/v/base", state="paused"))["base"][0]
        == "a"
    )


def test_a_disk_named_by_pool_and_volume_is_found_by_the_pools_target() -> None:
    pool = Pool(key="pool:p", name="p", kind="dir", target="/v")
    assert owners(pool, guest("g", disk_of(kind="qcow2", pool="p", volume="base"))) == {"base": ("g",)}
    assert owners(guest("g", disk_of(pool="p", volume="base"))) == {}


def test_a_network_disk_on_gluster_is_an_image_of_the_gluster_volume() -> None:
    volume = gluster()
    network = disk_of(protocol="gluster", name="gv/a/base")
    found = truths(volume, images(volume, image("a/base")), guests(guest("g", network)))
    assert found["a/base"].guests == ("g",)
    other = disk_of(protocol="gluster", name="other/a/base")
    assert truths(volume, images(volume, image("a/base")), guests(guest("g", other)))["a/base"].guests == ()


def test_a_guest_that_owns_one_hard_link_owns_all() -> None:
    links = images(V, image("a", inode=7), image("b", inode=7), image("c", inode=8))
    found = truths(V, links, guests(guest("g", "/v/a")))
    assert {key: truth.guests for key, truth in found.items()} == {"a": ("g",), "b": ("g",), "c": ()}


def test_guests_of_all_linked_hosts_own_images_and_those_of_others_do_not() -> None:
    one = host(spaced(V), FOUND)
    two, three = host(guests(guest("g2", "/v/base")), name="h2"), host(guests(guest("g3", "/v/c")), name="h3")
    truth = merged(declared(V, hosts=("h1", "h2")), one, two, three)
    found = truth.storages["s"].volumes["v"].images
    assert (found["base"].guests, found["c"].guests) == (("g2",), ())


def test_of_two_hosts_guests_on_one_image_the_running_one_is_named_wherever_it_runs() -> None:
    one = host(spaced(V), FOUND, guests(guest("a", "/v/base")))
    two = host(spaced(V), guests(guest("b", "/v/base", state="running")), name="h2")
    truth = merged(declared(V, hosts=("h1", "h2")), one, two)
    assert truth.storages["s"].volumes["v"].images["base"].guests == ("b", "a")
    assert document(truth).external_volumes[0].images[0].guest_id == "b"


def test_a_guest_that_two_hosts_define_owns_an_image_once_and_as_a_running_one() -> None:
    one = host(spaced(V), FOUND, guests(guest("g", "/v/base"), guest("a", "/v/base")))
    two = host(spaced(V), guests(guest("g", "/v/base", state="running")), name="h2")
    truth = merged(declared(V, hosts=("h1", "h2")), one, two)
    assert truth.storages["s"].volumes["v"].images["base"].guests == ("g", "a")


def test_what_a_silent_hosts_guests_own_stays_theirs() -> None:
    one = host(spaced(V), FOUND)
    silent = host(guests(guest("g", "/v/base", state="running")), name="h2", reported_at=NOW - 1000)
    truth = merged(declared(V, hosts=("h1", "h2")), one, silent)
    assert truth.storages["s"].volumes["v"].images["base"].guests == ("g",)


def test_a_disk_outside_of_all_volumes_owns_nothing() -> None:
    assert owners(guest("g", "/elsewhere/base", "/v2/base", "/v", "/", "")) == {}
