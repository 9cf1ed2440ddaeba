"""What `apply` is about to do: the steps, their sentences, and that they lead where they should."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storekeeper.declaration import Declaration, Declared
from storekeeper.declaration_plan import carried_out, plan, wanted
from storekeeper.declaration_toml import load
from storekeeper.errors import Conflict
from tests.test_declaration_toml import declarations

NOTHING = Declared()


def declared(text: str) -> Declared:
    return only_declared(load(text, "h1"))


def only_declared(declaration: Declaration) -> Declared:
    return Declared(image_storages=declaration.image_storages, hosts=declaration.hosts)


def without_order(some: Declared) -> object:
    storages = {
        key: (storage.hosts, {one.volume_id: one for one in storage.volumes})
        for key, storage in some.image_storages.items()
    }
    return storages, some.hosts


ANY = declarations().map(only_declared)
A = """
[image_storages.s]
hosts = ["h1"]
external_volumes.home.mount_point = "/home/images"
gluster_volumes.g.gvolume_name = "g"
[image_storages.old]
hosts = ["h1"]
external_volumes.x.mount_point = "/x"
external_volumes.y.mount_point = "/y"
[hosts.h7]
description = "spare"
[hosts.h8]
"""
B = """
[image_storages.s]
hosts = ["h1", "h2"]
volumes.ssd.primary_disk_id = "35"
external_volumes.home = { mount_point = "/home/images", source = "nas:/x", mounted = true }
[image_storages.new]
hosts = ["h3"]
[hosts.h7]
description = "in use"
[hosts.h9]
"""


def test_the_plan_says_every_step_in_words() -> None:
    assert [str(step) for step in plan(declared(A), declared(B))] == [
        "- host h8",
        "- gluster volume g of s",
        "- image storage old and its 2 volumes",
        '~ image storage s: hosts ["h1"] becomes ["h1", "h2"]',
        "+ volume ssd of s, at /storekeeper/ssd",
        '~ external volume home of s: source unset becomes "nas:/x", mounted unset becomes true',
        "+ image storage new, reached by h3",
        '~ host h7: description "spare" becomes "in use"',
        "+ host h9",
    ]


@given(ANY, ANY)
def test_the_steps_from_one_to_another_lead_there(first: Declared, second: Declared) -> None:
    assert without_order(carried_out(first, plan(first, second))) == without_order(second)


@given(ANY)
def test_nothing_is_to_be_done_where_all_holds(some: Declared) -> None:
    assert plan(some, some) == []


@given(ANY, ANY, st.booleans())
def test_applying_twice_changes_nothing_more(current: Declared, given_: Declared, prune: bool) -> None:
    once = wanted(NOTHING, current, given_, prune=prune)
    assert plan(once, wanted(NOTHING, once, given_, prune=prune)) == []


@given(ANY, ANY)
def test_without_prune_nothing_is_removed(current: Declared, given_: Declared) -> None:
    steps = plan(current, wanted(NOTHING, current, given_, prune=False))
    assert "remove" not in {step.verb for step in steps}


@given(ANY, ANY)
def test_with_prune_just_the_given_storages_are_left(current: Declared, given_: Declared) -> None:
    left = wanted(NOTHING, current, given_, prune=True)
    assert left.image_storages == given_.image_storages


def test_a_host_that_a_storage_links_is_not_pruned() -> None:
    current = declared("[image_storages.s]\nhosts = ['h1']\n[hosts.h1]\n[hosts.h2]\n")
    left = wanted(NOTHING, current, declared("[image_storages.s]\nhosts = ['h1']\n"), prune=True)
    assert set(left.hosts) == {"h1"}


@pytest.mark.parametrize("prune", [True, False])
def test_what_the_managers_own_file_says_too_is_nothing_to_do(prune: bool) -> None:
    assert wanted(declared(A), NOTHING, declared(A), prune=prune) == NOTHING


@pytest.mark.parametrize(
    "text", ["[image_storages.s]\nhosts = ['h2']\n", "[hosts.h7]\ndescription='other'\n"]
)
def test_what_the_managers_own_file_says_otherwise_is_refused(text: str) -> None:
    with pytest.raises(Conflict, match="is declared otherwise in the manager's own file; change it there"):
        wanted(declared(A), NOTHING, declared(text), prune=False)


def test_two_volumes_may_change_places() -> None:
    text = "[image_storages.s]\nhosts = ['h']\n"
    text += "external_volumes.{}.mount_point = '/x'\nexternal_volumes.{}.mount_point = '/y'\n"
    first, second = declared(text.format("a", "b")), declared(text.format("b", "a"))
    assert without_order(carried_out(first, plan(first, second))) == without_order(second)
