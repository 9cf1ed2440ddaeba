"""What no host told anew is not merged again, and the truth is the same as if it were."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from storekeeper.declaration import Declaration
from storekeeper.merge import merge
from storekeeper.merge.scopes import scopes
from storekeeper.merge.truth import HostView, Memory
from tests.merge.builders import (
    NOW,
    TIMED_OUT,
    declared,
    disk,
    disks,
    document,
    external,
    gluster,
    gluster_volume,
    guest,
    guests,
    host,
    image,
    images,
    look,
    merged,
    ocfs2,
    sharing,
    spaced,
    status,
    views_of,
)

V = external()


def farm() -> Declaration:
    """Two storages that share a host, with a volume of each kind, and one with a plain directory."""
    each = [
        declared(external("v"), ocfs2("o"), gluster("g"), hosts=("h1", "h2"), storage="a"),
        declared(external("v"), ocfs2("o"), gluster("g"), hosts=("h2", "h3"), storage="b"),
        declared(external("v"), hosts=("h3", "h4"), storage="c"),
    ]
    found = {key: one for declaration in each for key, one in declaration.image_storages.items()}
    return replace(each[0], image_storages=found)


FARM = farm()
HOSTS = ("h1", "h2", "h3", "h4")


@st.composite
def views(draw: st.DrawFn, at: float) -> HostView:
    """One host's report at this time, of all storages alike."""
    name = draw(st.sampled_from(HOSTS))
    looks = []
    for storage in FARM.image_storages.values():
        if name not in storage.hosts:
            continue
        for volume in storage.volumes:
            faults = draw(st.sampled_from([(), (), (), (TIMED_OUT,)]))
            identity = draw(st.sampled_from(["uuid-1", "uuid-1", "uuid-2", "gluster:gv", ""]))
            mounted = draw(st.sampled_from([True, True, False]))
            looks.append(spaced(volume, at=at, faults=faults, filesystem_id=identity, is_mount_point=mounted))
            if draw(st.booleans()):
                found = draw(st.lists(st.sampled_from(["x", "y", "z"]), unique=True))
                looks.append(images(volume, *(image(key, "raw") for key in found), at=at - draw(AGES)))
            if draw(st.booleans()):
                looks.append(sharing(volume, ("x", "y", 5), at=at))
    if draw(st.booleans()):
        states = draw(st.sampled_from(["uuuuuu", "??????", "uuuddd"]))
        looks.append(
            look("gluster", "", gluster_volume(states, unique_id=draw(st.sampled_from("12"))), at=at)
        )
    looks.append(guests(guest("g", "/v/x", state=draw(st.sampled_from(["running", "stopped"]))), at=at))
    looks.append(disks(*([disk()] if draw(st.booleans()) else []), at=at))
    return host(*looks, name=name, reported_at=at)


AGES = st.sampled_from([0.0, 10.0, 29.0, 100.0])
STEPS = st.lists(st.sampled_from([0.0, 1.0, 5.0, 30.0, 31.0, 61.0, 700.0]), min_size=1, max_size=8)


@settings(deadline=None, max_examples=120)
@given(st.data(), STEPS)
def test_a_merge_of_many_storages_after_another_is_the_same_as_one_from_scratch(
    data: st.DataObject, steps: list[float]
) -> None:
    now, known = NOW, dict[str, HostView]()
    truth = merge(FARM, known, Memory(), now)
    for step in steps:
        now += step
        if data.draw(st.booleans()):
            view = data.draw(views(now))
            known = {**known, view.host_id: view}
        scratch = merge(FARM, known, truth.memory, now)
        truth = merge(FARM, known, truth.memory, now, previous=truth)
        assert truth == scratch
        assert scopes(FARM, known, truth) == scopes(FARM, known, scratch)
        assert scopes(FARM, known, truth) == scopes(FARM, known, replace(truth, storages={}))


def test_a_storage_whose_hosts_told_nothing_new_is_the_very_same_object_until_its_time_is_over() -> None:
    one, two = declared(V, hosts=("h1",)), declared(V, hosts=("h2",), storage="t")
    both = replace(one, image_storages={**one.image_storages, **two.image_storages})
    here, there = host(spaced(V), images(V)), host(name="h2")
    first = merged(both, here, there)
    later = merged(
        both, here, host(name="h2", reported_at=NOW + 5), memory=first.memory, now=NOW + 5, previous=first
    )
    assert later.storages["s"] is first.storages["s"]
    assert later.storages["t"] is not first.storages["t"]
    assert later.valid_until == first.valid_until
    over = merged(both, here, there, memory=later.memory, now=later.valid_until, previous=later)
    assert (status(later)[0], status(over)[0]) == ("ok", "unknown")


def test_a_storage_that_is_declared_otherwise_is_merged_again() -> None:
    view = host(spaced(V), images(V))
    first = merged(declared(V), view)
    wider = declared(V, hosts=("h1", "h2"))
    truth = merged(wider, view, memory=first.memory, previous=first)
    assert document(truth).hosts == ["h1", "h2"]


def test_a_disk_that_another_storage_reserves_is_told_of_at_once() -> None:
    one = declared(V)
    view = host(spaced(V), images(V), disks(disk()))
    first = merged(one, view)
    both = replace(
        one, image_storages={**one.image_storages, **declared(ocfs2(), storage="t").image_storages}
    )
    then = merged(both, view, memory=first.memory, previous=first)
    assert [each.physical_disk_id for each in document(first).disks] == ["35000"]
    assert document(then).disks == []


def test_what_another_host_of_the_cluster_says_is_told_at_once() -> None:
    volume = gluster()
    client = host(spaced(volume), images(volume), look("gluster", "", gluster_volume("??????")))
    asker = host(look("gluster", "", gluster_volume("uuuuuu")), name="h9")
    lost = host(look("gluster", "", gluster_volume("uuuuud")), name="h9")
    declaration = declared(volume)
    first = merged(declaration, client, asker)
    then = merged(declaration, client, lost, memory=first.memory, previous=first)
    assert (status(first)[0], status(then)[0]) == ("ok", "degraded")


def test_scopes_are_kept_with_the_truth_that_they_follow_from() -> None:
    views = views_of(host(spaced(V), images(V)), host(spaced(V), name="h2"))
    declaration = declared(V, hosts=("h1", "h2"))
    truth = merge(declaration, views, Memory(), NOW)
    first, again = scopes(declaration, views, truth), scopes(declaration, views, truth)
    assert first == again
    assert all(one[1] is other[1] for one, other in zip(first["h1"], again["h1"], strict=True))
