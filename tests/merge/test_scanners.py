"""One host walks a volume that several see, and another one when it no longer does."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from storekeeper.declaration import Volume
from storekeeper.merge.freshness import PROBES_AN_ANSWER_LASTS
from storekeeper.merge.scopes import scopes
from storekeeper.merge.truth import HostView
from storekeeper.observation import Fault
from storekeeper.sources import SOURCES
from tests.merge.builders import (
    NOW,
    TIMED_OUT,
    declared,
    external,
    gluster,
    host,
    image,
    images,
    look,
    merged,
    mount,
    spaced,
    status,
    truths_of,
    views_of,
)

V = external(mounted=True)
HOSTS = ("h1", "h2", "h3")
STALE_S = PROBES_AN_ANSWER_LASTS * SOURCES["images"].every_s
DENIED = Fault("denied", "Permission denied.", hides="*")


def sees(name: str, *more: Any, volume: Volume = V, at: float = NOW, **seen: Any) -> HostView:
    """A host that reports and sees the volume, if not said otherwise."""
    there = spaced(volume, at=at, **{"is_mount_point": True, **seen})
    return host(there, *more, name=name, reported_at=at)


def walkers(*views: HostView, volume: Volume = V) -> list[str]:
    found = scopes(declared(volume, hosts=HOSTS), views_of(*views))
    return [host_id for host_id in found if ("images", volume.key) in _keys(found[host_id])]


def _keys(wanted: list[Any]) -> set[tuple[str, str]]:
    return {(name, scope.key) for name, scope in wanted}


def test_of_hosts_that_see_a_volume_well_the_first_walks_it_and_the_others_look_at_its_place_only() -> None:
    views = [sees("h3"), sees("h1"), sees("h2")]
    assert walkers(*views) == ["h1"]
    found = scopes(declared(V, hosts=HOSTS), views_of(*views))
    assert all(("space", "s/v") in _keys(found[host_id]) for host_id in HOSTS)
    assert [host_id for host_id in found if ("extents", "s/v") in _keys(found[host_id])] == ["h1"]


def test_nobody_walks_a_volume_that_is_nowhere() -> None:
    assert walkers(sees("h1", is_mount_point=False), sees("h2", exists=False)) == []
    assert walkers() == []


def test_who_listed_it_last_goes_on_though_a_host_before_it_is_back() -> None:
    assert walkers(sees("h1"), sees("h2", images(V))) == ["h2"]
    assert walkers(sees("h1", images(V, at=NOW - 5)), sees("h2", images(V))) == ["h2"]


def test_a_host_that_falls_silent_is_replaced() -> None:
    silent = sees("h1", images(V, at=NOW - 61), at=NOW - 61)
    assert walkers(silent, sees("h2")) == ["h2"]
    assert walkers(sees("h1", images(V), at=NOW - 1), sees("h2")) == ["h1"]


def test_a_host_on_which_the_volume_hangs_is_gone_or_read_only_is_replaced() -> None:
    listed = images(V)
    assert walkers(sees("h1", listed, faults=[TIMED_OUT]), sees("h2")) == ["h2"]
    assert walkers(sees("h1", listed, is_mount_point=False), sees("h2")) == ["h2"]
    assert walkers(sees("h1", listed, read_only=True), sees("h2")) == ["h2"]


def test_where_none_sees_it_well_the_best_one_goes_on() -> None:
    assert walkers(sees("h1", faults=[TIMED_OUT]), sees("h2", read_only=True)) == ["h2"]
    assert walkers(sees("h1", faults=[TIMED_OUT])) == ["h1"]


def test_a_host_that_reports_but_lists_no_more_is_replaced_and_so_is_one_that_cannot() -> None:
    behind = images(V, at=NOW - STALE_S)
    assert walkers(sees("h1", behind), sees("h2")) == ["h2"]
    assert walkers(sees("h1", images(V, at=NOW - STALE_S + 1)), sees("h2")) == ["h1"]
    assert walkers(sees("h1", images(V, faults=[DENIED])), sees("h2")) == ["h2"]


def test_when_all_have_failed_each_has_its_turn_again() -> None:
    failed = [images(V, faults=[DENIED], at=NOW - age) for age in (5, 25, 15)]
    assert walkers(*(sees(name, each) for name, each in zip(HOSTS, failed, strict=True))) == ["h2"]


@given(st.permutations(HOSTS), st.lists(st.sampled_from([None, 0, 20, 29, 31, 500]), min_size=3, max_size=3))
def test_whatever_was_looked_at_one_host_walks_and_the_same_from_every_manager(
    order: list[str], ages: list[int | None]
) -> None:
    views = {
        name: sees(name, *([] if age is None else [images(V, at=NOW - age)]))
        for name, age in zip(HOSTS, ages, strict=True)
    }
    assert len(walkers(*views.values())) == 1
    assert walkers(*(views[name] for name in order)) == walkers(*views.values())


# --- what is shown meanwhile ----------------------------------------------------------------------


def test_the_latest_list_counts_whoever_made_it() -> None:
    old, new = sees("h1", images(V, image("old"), at=NOW - 20)), sees("h2", images(V, image("new")))
    assert [*truths_of(merged(declared(V, hosts=HOSTS), old, new))] == ["new"]


def test_what_a_host_listed_before_it_fell_silent_stays_until_another_has_listed() -> None:
    silent = sees("h1", images(V, image("a"), at=NOW - 61), at=NOW - 61)
    assert [*truths_of(merged(declared(V, hosts=HOSTS), silent, sees("h2")))] == ["a"]
    longer_ago = sees("h2", images(V, image("ancient"), at=NOW - 900))
    assert [*truths_of(merged(declared(V, hosts=HOSTS), silent, longer_ago))] == ["a"]


def test_a_list_of_a_host_that_sees_another_filesystem_there_counts_only_when_there_is_no_other() -> None:
    wrong = sees("h1", images(V, image("wrong")), mount=mount("/v", "nfs4", "nas:/other"), filesystem_id="x")
    right = sees("h2", images(V, image("right"), at=NOW - 20), filesystem_id="uuid-1")
    third = sees("h3", filesystem_id="uuid-1")
    assert [*truths_of(merged(declared(V, hosts=HOSTS), wrong, right, third))] == ["right"]


def test_a_list_that_is_too_old_is_told_once_the_next_host_had_its_time() -> None:
    hosts = ("h1", "h2")
    said = "Its images were last listed at 2027-01-15 08:00 UTC; they are as last seen."

    def after(age: float, *more: Any) -> tuple[str, str]:
        now = NOW + age
        views = [sees("h1", images(V), at=now), sees("h2", *more, at=now)]
        return status(merged(declared(V, hosts=hosts), *views, now=now))

    assert after(STALE_S - 1) == ("ok", "")
    # h2 is at its first walk.
    assert after(STALE_S) == ("ok", "")
    assert after(STALE_S + SOURCES["images"].deadline_s - 1) == ("ok", "")
    assert after(STALE_S + SOURCES["images"].deadline_s) == ("degraded", said)
    # h2 failed too, a moment ago.
    assert after(STALE_S, images(V, faults=[DENIED], at=NOW + STALE_S, good_at=0.0)) == ("degraded", said)


def test_alone_a_host_that_lists_no_more_is_told_at_once() -> None:
    view = sees("h1", images(V, at=NOW - STALE_S))
    truth = merged(declared(V), view)
    assert status(truth) == (
        "degraded", "Its images were last listed at 2027-01-15 07:59 UTC; they are as last seen.",
    )  # fmt: skip


def test_a_truth_holds_until_its_list_is_too_old() -> None:
    view = sees("h1", images(V, at=NOW - 25))
    assert merged(declared(V), view).valid_until == NOW - 25 + STALE_S


def test_a_pause_that_was_declared_makes_an_answer_last_as_long() -> None:
    declaration = replace(declared(V), every_s={"space": 2.0, "images": 20.0})
    assert merged(declaration, sees("h1", images(V))).valid_until == NOW + 6


def test_a_gluster_volume_is_walked_by_one_of_its_clients() -> None:
    volume = gluster()
    assert walkers(*(host(spaced(volume), name=name) for name in HOSTS), volume=volume) == ["h1"]
    no_tools = host(spaced(volume), look("gluster", "", faults=[DENIED]), name="h1")
    assert walkers(no_tools, host(spaced(volume), name="h2"), volume=volume) == ["h1"]
