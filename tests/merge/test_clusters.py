"""One host asks a Gluster cluster, and all storages with its volumes have the answer."""

from __future__ import annotations

from msgspec.structs import replace

from storekeeper.declaration import Declaration
from storekeeper.merge.clusters import Clusters
from storekeeper.merge.scopes import scopes
from storekeeper.merge.truth import HostView
from storekeeper.observation import Fault
from tests.merge.builders import (
    NOW,
    declared,
    external,
    gluster,
    gluster_volume,
    host,
    images,
    look,
    merged,
    spaced,
    views_of,
)

G = gluster()


def two_storages(name: str = "gv", other: str = "gv") -> Declaration:
    """Storage `s` on h1 and h2, `t` on h3 and h4, each with a Gluster volume."""
    one = declared(gluster(name=name), hosts=("h1", "h2"))
    two = declared(gluster(name=other), hosts=("h3", "h4"), storage="t")
    return replace(one, image_storages={**one.image_storages, **two.image_storages})


def knows(name: str, *volumes: tuple[str, str], bricks: str = "??????", at: float = NOW) -> HostView:
    """A host whose Gluster has these volumes (name and id)."""
    facts = [gluster_volume(bricks, name=volume, unique_id=unique_id) for volume, unique_id in volumes]
    return host(look("gluster", "", *facts, at=at), name=name, reported_at=at)


def askers(declaration: Declaration, *views: HostView) -> list[str]:
    found = scopes(declaration, views_of(*views))
    return [host_id for host_id in found if dict(found[host_id])["gluster"].ask_cluster]


def test_a_host_that_is_linked_to_two_storages_asks_for_both() -> None:
    one, two = declared(G, hosts=("h1", "h2")), declared(G, hosts=("h1", "h3"), storage="t")
    both = replace(one, image_storages={**one.image_storages, **two.image_storages})
    assert askers(both, host()) == ["h1"]


def test_storages_with_one_volume_have_one_asker_though_they_share_no_host() -> None:
    same = [knows(name, ("gv", "id-1")) for name in ("h1", "h2", "h3", "h4")]
    assert askers(two_storages(), *same) == ["h1"]
    others = [knows("h1", ("gv", "id-1")), knows("h3", ("gv", "id-2"))]
    assert askers(two_storages(), *others) == ["h1", "h3"]


def test_two_volumes_that_any_host_has_beside_each_other_are_of_one_cluster() -> None:
    views = [knows("h1", ("gv", "id-1"), ("gw", "id-2")), knows("h3", ("gw", "id-2"))]
    assert askers(two_storages("gv", "gw"), *views) == ["h1"]
    apart = [knows("h1", ("gv", "id-1")), knows("h3", ("gw", "id-2"))]
    assert askers(two_storages("gv", "gw"), *apart) == ["h1", "h3"]


def test_while_no_host_knows_the_volume_each_storage_asks() -> None:
    assert askers(two_storages()) == ["h1", "h3"]
    # The volume may have been deleted: its hosts' cluster is still one.
    left = [knows(name, ("other", "id-9")) for name in ("h1", "h2", "h3")]
    assert askers(two_storages(), *left) == ["h1"]


def test_a_host_of_another_storage_asks_when_none_of_the_first_can() -> None:
    same = {name: knows(name, ("gv", "id-1")) for name in ("h1", "h2", "h3")}
    failed = look("gluster", "", *same["h2"].looks["gluster", ""].seen.facts.values(),
                  faults=[Fault("timed-out", "locked", hides="*")])  # fmt: skip
    silent = knows("h1", ("gv", "id-1"), at=NOW - 61)
    assert askers(two_storages(), silent, host(failed, name="h2"), same["h3"]) == ["h3"]


def test_a_host_that_knows_the_volume_asks_before_one_that_may_not() -> None:
    assert askers(declared(G, hosts=("h1", "h2")), host(), knows("h2", ("gv", "id-1"))) == ["h2"]


def test_without_gluster_volumes_the_managers_own_host_looks_for_some() -> None:
    assert askers(declared(external()), host()) == ["h1"]


def test_what_the_asker_was_told_holds_for_the_storages_of_other_hosts() -> None:
    asker = knows("h1", ("gv", "id-1"), bricks="uuuuud")
    client = host(
        spaced(replace(G, image_storage_id="t")),
        images(replace(G, image_storage_id="t")),
        *knows("h3", ("gv", "id-1")).looks.values(),
        name="h3",
    )
    declaration = two_storages()
    declaration = replace(
        declaration,
        image_storages={
            "s": declaration.image_storages["s"],
            "t": replace(declaration.image_storages["t"], hosts=("h3",)),
        },
    )
    row = merged(declaration, asker, client).storages["t"].document.gluster_volumes[0]
    assert (row.status, row.status_msg[:29]) == ("degraded", "1 of 6 bricks are offline sin")
    stranger = knows("h1", ("gv", "id-2"), bricks="uuuuud")
    row = merged(declaration, stranger, client).storages["t"].document.gluster_volumes[0]
    assert row.status_msg.startswith("Gluster cannot be asked about its bricks")


def test_who_can_tell_of_a_volume_are_the_linked_hosts_first() -> None:
    views = [knows("h1", ("gv", "id-1")), knows("h2", ("gv", "id-1")), knows("h9", ("gv", "id-2"))]
    assert Clusters(views_of(*views)).tellers(G, ("h2",)) == ("h2", "h1")
    assert Clusters(views_of(*views)).tellers(G, ("h7",)) == ("h7",)
