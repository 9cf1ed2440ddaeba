"""Changing what is declared: what may be changed, by whom, and what is said when it may not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storekeeper import declaration_changes as changes
from storekeeper.declaration import Declaration, Declared, Host
from storekeeper.declaration_tables import tables_of
from storekeeper.declaration_toml import load
from storekeeper.errors import Conflict, DeclarationError, NoSuchObject
from tests.test_declaration_toml import declarations

FILE = load(
    """
    [image_storages.filed]
    hosts = ["h1"]
    external_volumes.home.mount_point = "/home/images"
    [hosts.h9]
    """,
    "h1",
)
NONE = Declaration(host_id="h1", image_storages={}, found=True)
TABLE = {"hosts": ["h1", "h2"], "external_volumes": {"nas": {"mount_point": "/nas", "mounted": False}}}
ONE = changes.add_storage(FILE, Declared(), "s", TABLE)


def said(change: Callable[[], object], error: type[Exception]) -> str:
    with pytest.raises(error) as found:
        change()
    return str(found.value)


def test_an_image_storage_is_added_with_its_volumes_and_their_defaults() -> None:
    table = {**TABLE, "volumes": {"ssd": {"primary_disk_id": "35"}}}
    storage = changes.add_storage(FILE, Declared(), "s", table).image_storages["s"]
    assert storage.hosts == ("h1", "h2")
    assert [(one.key, one.kind, one.mount_point, one.mounted) for one in storage.volumes] == [
        ("s/ssd", "ocfs2", "/storekeeper/ssd", None),
        ("s/nas", "external", "/nas", False),
    ]


@pytest.mark.parametrize("taken", ["s", "filed"])
def test_an_id_of_a_storage_is_taken_once(taken: str) -> None:
    assert "take another id" in said(lambda: changes.add_storage(FILE, ONE, taken, TABLE), Conflict)


def test_everything_that_is_wrong_is_told_at_once_by_its_key() -> None:
    table = {"hosts": [], "volumes": {"a b": {"primary_disk_id": None}}, "gluster": {}}
    lines = said(lambda: changes.add_storage(FILE, ONE, "t", table), DeclarationError).splitlines()
    assert lines == [
        "image_storages.t.gluster: is not a key of Storekeeper. Did you mean 'gluster_volumes'?",
        "image_storages.t.hosts: is empty; name at least one host",
        "image_storages.t.volumes.\"a b\": the id is 'a b'; write 1 to 63 letters, digits, dots, underscores "
        "and hyphens, beginning with a letter or digit",
        'image_storages.t.volumes."a b".primary_disk_id: is null; write a text in quotes',
    ]


@pytest.mark.parametrize("place", ["/home/images", "/home/images/deep", "/nas"])
def test_a_place_in_that_of_any_other_storage_is_refused_be_it_the_files(place: str) -> None:
    table = {"hosts": ["h1"], "external_volumes": {"v": {"mount_point": place}}}
    text = said(lambda: changes.add_storage(FILE, ONE, "t", table), DeclarationError)
    assert text.startswith("image_storages.t.external_volumes.v.mount_point: ")


def test_of_a_replaced_storage_volumes_stay_that_are_not_told() -> None:
    kept = changes.replace_storage(FILE, ONE, "s", {"hosts": ["h3"]}).image_storages["s"]
    assert kept.hosts == ("h3",)
    assert kept.volumes == ONE.image_storages["s"].volumes
    assert (
        changes.replace_storage(FILE, ONE, "s", {"hosts": ["h3"], "external_volumes": {}})
        .image_storages["s"]
        .volumes
        == ()
    )


def test_volumes_are_added_changed_and_removed() -> None:
    two = changes.add_volume(FILE, ONE, "s", "gluster_volumes", "g", {"gvolume_name": "g"})
    assert [one.volume_id for one in two.image_storages["s"].volumes] == ["nas", "g"]
    moved = changes.replace_volume(FILE, two, "s", "gluster_volumes", "g",
                                   {"gvolume_name": "g", "mount_point": "/g"})  # fmt: skip
    assert moved.image_storages["s"].volumes[1].mount_point == "/g"
    assert changes.remove_volume(FILE, moved, "s", "gluster_volumes", "g") == ONE


def test_an_id_of_a_volume_is_taken_once_in_its_storage_whatever_its_kind() -> None:
    def again() -> Declared:
        return changes.add_volume(FILE, ONE, "s", "gluster_volumes", "nas", {"gvolume_name": "g"})

    assert "has a volume 'nas' already" in said(again, Conflict)


def test_a_volume_is_found_in_the_table_of_its_kind_only() -> None:
    text = said(lambda: changes.remove_volume(FILE, ONE, "s", "gluster_volumes", "nas"), NoSuchObject)
    assert text == "No volume in gluster_volumes of 's' 'nas'."


@pytest.mark.parametrize(
    "change",
    [
        lambda: changes.replace_storage(FILE, ONE, "filed", TABLE),
        lambda: changes.remove_storage(FILE, ONE, "filed"),
        lambda: changes.add_volume(FILE, ONE, "filed", "external_volumes", "v", {"mount_point": "/v"}),
        lambda: changes.replace_volume(FILE, ONE, "filed", "external_volumes", "home", {"mount_point": "/v"}),
        lambda: changes.remove_volume(FILE, ONE, "filed", "external_volumes", "home"),
        lambda: changes.replace_host(FILE, ONE, "h9", {}),
        lambda: changes.remove_host(FILE, ONE, "h9"),
        lambda: changes.replace_all(FILE, {"image_storages": {"filed": TABLE}}),
        lambda: changes.replace_all(FILE, {"hosts": {"h9": {}}}),
    ],
)
def test_what_the_managers_own_file_declares_is_changed_there_only(change: Callable[[], Declared]) -> None:
    assert "the manager's own file" in said(change, Conflict).lower()


@pytest.mark.parametrize(
    "change",
    [
        lambda: changes.replace_storage(FILE, ONE, "t", TABLE),
        lambda: changes.remove_storage(FILE, ONE, "t"),
        lambda: changes.add_volume(FILE, ONE, "t", "volumes", "v", {}),
        lambda: changes.replace_volume(FILE, ONE, "s", "volumes", "v", {}),
        lambda: changes.replace_host(FILE, ONE, "h3", {}),
        lambda: changes.remove_host(FILE, ONE, "h3"),
    ],
)
def test_what_is_not_there_cannot_be_changed(change: Callable[[], Declared]) -> None:
    said(change, NoSuchObject)


def test_a_host_is_added_once_and_removed_when_no_storage_links_it() -> None:
    added = changes.add_host(FILE, ONE, "h3", {"description": "the new one"})
    assert added.hosts == {"h3": Host(host_id="h3", description="the new one")}
    assert "h3" in said(lambda: changes.add_host(FILE, added, "h3", {}), Conflict)
    assert changes.remove_host(FILE, added, "h3") == ONE


@pytest.mark.parametrize(("host_id", "storages"), [("h1", "filed, s"), ("h2", "s")])
def test_a_host_that_is_still_linked_cannot_be_removed(host_id: str, storages: str) -> None:
    added = changes.add_host(FILE, ONE, host_id, {})
    assert f"is linked to {storages};" in said(lambda: changes.remove_host(FILE, added, host_id), Conflict)


def test_a_host_that_is_only_linked_can_be_described() -> None:
    assert changes.replace_host(FILE, ONE, "h2", {"description": "x"}).hosts["h2"].description == "x"


def test_a_host_is_gone_when_neither_a_table_nor_a_storage_names_it() -> None:
    before = Declared(hosts={name: Host(host_id=name) for name in ("h1", "h2", "h3", "h9")})
    assert changes.hosts_gone(FILE, before, before) == set()
    assert changes.hosts_gone(FILE, before, Declared()) == {"h2", "h3"}
    assert changes.hosts_gone(FILE, before, ONE) == {"h3"}


def test_what_holds_is_the_file_and_what_was_declared_and_of_one_id_the_files() -> None:
    other = changes.add_storage(NONE, Declared(), "filed", {"hosts": ["h7"]})
    both = Declared(
        image_storages={**other.image_storages, **ONE.image_storages}, hosts={"h9": Host(host_id="x")}
    )
    held = changes.combined(FILE, both)
    assert set(held.image_storages) == {"s", "filed"}
    assert held.image_storages["filed"] == FILE.image_storages["filed"]
    assert held.hosts == FILE.hosts


def test_what_was_found_for_want_of_a_file_gives_way_to_the_first_declared_storage() -> None:
    found = load("[image_storages.local]\nhosts=['h1']\nexternal_volumes.v.mount_point='/nas'", "h1")
    found = Declaration(host_id="h1", image_storages=found.image_storages, found=True)
    hosts_only = Declared(hosts={"h2": Host(host_id="h2")})
    assert changes.combined(found, hosts_only).image_storages == found.image_storages
    assert changes.combined(found, hosts_only).found
    declared = changes.add_storage(found, Declared(), "local", TABLE)
    held = changes.combined(found, declared)
    assert (held.image_storages, held.found) == (declared.image_storages, False)


def test_removing_is_possible_when_the_file_came_to_contradict_what_was_declared() -> None:
    clashing = changes.add_storage(
        NONE, Declared(), "t", {"hosts": ["h1"], "external_volumes": {"v": {"mount_point": "/home/images"}}}
    )
    assert changes.remove_storage(FILE, clashing, "t") == Declared()


@pytest.mark.parametrize(
    "table",
    [
        *(None, 5, "x", []),
        *({"hosts": {"a": 1}}, {"hosts": [[]]}, {"hosts": None}),
        *({"hosts": ["h"], "volumes": {"v": []}}, {"hosts": ["h"], "volumes": 5}),
    ],
)
def test_any_json_that_is_no_storage_is_an_error(table: Any) -> None:
    assert said(lambda: changes.add_storage(FILE, ONE, "t", table), DeclarationError).startswith(
        "image_storages.t"
    )


@given(declarations())
def test_what_is_made_tables_of_is_read_back_the_same(declaration: Declaration) -> None:
    tables = tables_of(declaration.image_storages.values(), declaration.hosts.values())
    assert changes.replace_all(NONE, tables) == Declared(
        image_storages=declaration.image_storages, hosts=declaration.hosts
    )


KEYS = st.sampled_from(
    ["image_storages", "hosts", "s", "h1", "a b", "volumes", "external_volumes", "gluster_volumes", "nas",
     "mount_point", "primary_disk_id", "gvolume_name", "mounted", "aliases", "source", "description"]
)  # fmt: skip
LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["", "/x", "h1", "\0", "g"])
)
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["image_storages", "hosts"]), st.dictionaries(KEYS, JSON), max_size=2))
def test_any_tables_are_an_error_or_a_declaration_that_holds(tables: dict[str, Any]) -> None:
    try:
        declared = changes.replace_all(FILE, tables)
    except (DeclarationError, Conflict):
        return
    again = tables_of(declared.image_storages.values(), declared.hosts.values())
    assert changes.replace_all(FILE, again) == declared
