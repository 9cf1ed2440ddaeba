"""A report is applied when it follows on the last, or is full; whatever else comes does nothing."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from storekeeper.errors import FullReportNeeded, Refused, Superseded, UsageError
from storekeeper.manager.reports import Greeting, after, decoded, outdated, own, without
from storekeeper.observation import Fault
from storekeeper.report import PROTOCOL, Changes, Report
from storekeeper.sources import SOURCES
from tests.manager.agents import report, saw
from tests.manager.sequence import Sequence
from tests.merge.builders import TIMED_OUT, external, host, image, look, mount, space

VOLUME = external("v")
encode = msgspec.msgpack.encode


def sequence(*applied: Report) -> Sequence:
    made = Sequence()
    for each in applied:
        assert made.is_new(each)
        made.applied(each)
    return made


def test_headers_that_say_the_same_are_kept_once() -> None:
    told = [image("a"), image("b"), image("c", size_mb=7)]
    changes = saw("images", VOLUME.key, *told)
    (change,) = decoded(encode(report(changes))).changes  # type: ignore[union-attr]
    one, same, other = change.facts
    assert change.facts == told
    assert one.header is same.header is not other.header  # type: ignore[union-attr]


# --- their sequence -----------------------------------------------------------------------------


def test_the_first_report_must_be_full() -> None:
    assert sequence().is_new(report())
    with pytest.raises(FullReportNeeded):
        sequence().is_new(report(full=False))


def test_a_report_that_follows_on_the_last_is_new_and_was_applied_the_second_time() -> None:
    follows = report(number=2, full=False)
    known = sequence(report(), follows)
    assert not known.is_new(follows)
    assert not known.is_new(report())
    assert known.is_new(report(number=3, full=False))


def test_after_a_gap_a_full_report_is_needed() -> None:
    known = sequence(report())
    with pytest.raises(FullReportNeeded):
        known.is_new(report(number=3, full=False))
    assert known.is_new(report(number=3))


def test_a_later_run_takes_over_and_the_former_one_is_superseded() -> None:
    known = sequence(report(run=1, number=7), report(run=2))
    with pytest.raises(Superseded):
        known.is_new(report(run=1, number=8, full=False))
    with pytest.raises(Superseded):
        known.is_new(report(run=1, number=8))


def test_a_later_run_begins_with_a_full_report() -> None:
    with pytest.raises(FullReportNeeded):
        sequence(report(run=1)).is_new(report(run=2, number=2, full=False))


def test_one_run_in_two_boots_is_of_two_machines() -> None:
    with pytest.raises(Refused, match="Another machine"):
        sequence(report(boot_id="one")).is_new(report(boot_id="two", number=2, full=False))


def test_hosts_count_by_themselves() -> None:
    known = sequence(report(host_id="h1", run=9, number=9))
    assert known.is_new(report(host_id="h2"))


# --- what is in them ----------------------------------------------------------------------------


def test_a_report_survives_the_wire() -> None:
    sent = report(saw("space", VOLUME.key, space(VOLUME)), saw("images", VOLUME.key, image("a")))
    assert decoded(encode(sent)) == sent


def test_of_a_report_of_another_protocol_only_the_greeting_is_read() -> None:
    body = encode({"host_id": "h1", "version": "99.0", "protocol": PROTOCOL + 1, "changes": "another shape"})
    assert decoded(body) == Greeting(host_id="h1", version="99.0", protocol=PROTOCOL + 1)


def changed(**values: Any) -> bytes:
    """A good report with something wrong in its only change."""
    good = saw("space", VOLUME.key, space(VOLUME))
    return encode(report(replace(good, **values)))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        b"\x93\x01\x02\x03",
        encode(report())[:-1],
        encode({"host_id": 1, "version": "1", "protocol": PROTOCOL}),
        encode({"host_id": "h1", "version": "1", "protocol": PROTOCOL}),
        encode(report(number=0)),
        encode(report(run=-1)),
        encode(report(sent_at=float("nan"))),
        changed(age_s=float("nan")),
        changed(age_s=float("inf")),
        changed(took_s=float("nan")),
        changed(took_s=-1.0),
        changed(took_s=1e300),
        changed(source="passwords"),
        changed(scope=""),
        changed(source="disks", facts=[]),
        changed(facts=[image("a")]),
        changed(facts=[space(VOLUME, took_s=float("nan"))]),
        changed(facts=[{"type": "no such fact", "key": "k"}]),
        changed(full=False),
        b"\x91" * 100_000,
    ],
)  # fmt: skip
def test_what_is_no_report_is_refused_in_a_sentence(body: bytes) -> None:
    with pytest.raises(UsageError, match=r"\.$"):
        decoded(body)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_report_or_refused(body: bytes) -> None:
    with suppress(UsageError):
        assert isinstance(decoded(body), Report | Greeting)


@given(st.data())
def test_a_report_with_any_byte_changed_is_a_report_or_refused(data: st.DataObject) -> None:
    body = bytearray(encode(report(saw("images", VOLUME.key, image("a", parent="b")))))
    body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    with suppress(UsageError):
        assert isinstance(decoded(bytes(body)), Report | Greeting)


def test_every_source_may_tell_something() -> None:
    for name, source in SOURCES.items():
        assert decoded(encode(report(saw(name, "" if source.of == "host" else VOLUME.key))))


# --- whose they are -----------------------------------------------------------------------------

IMAGES = ("images", VOLUME.key)
NOBODY: dict[tuple[str, str], str] = {}


def test_what_a_host_sees_of_itself_and_where_it_is_to_look_is_its_own() -> None:
    sent = report(saw("disks", ""), saw(*IMAGES))
    assert own(sent, {IMAGES}, set(), set(), NOBODY, {}) == (sent.changes, [])


def test_a_volume_of_its_storage_is_its_own_until_another_host_has_looked_into_it_well() -> None:
    sent = report(saw(*IMAGES))

    def then(*looks: Any) -> tuple[list[Changes], list[tuple[str, str]]]:
        views = {"h2": host(*looks, name="h2")}
        return own(sent, set(), {IMAGES}, {VOLUME.key}, {IMAGES: "h2"}, views)

    assert own(sent, set(), set(), {VOLUME.key}, NOBODY, {}) == (sent.changes, [])
    assert then() == (sent.changes, [])
    assert then(look(*IMAGES, faults=[TIMED_OUT])) == (sent.changes, [])
    assert then(look(*IMAGES)) == ([], [IMAGES])


def test_where_it_is_to_look_no_more_is_left_out() -> None:
    assert own(report(saw(*IMAGES)), set(), {IMAGES}, set(), NOBODY, {}) == ([], [IMAGES])


def test_a_volume_that_was_never_its_own_is_refused() -> None:
    with pytest.raises(Refused):
        own(report(saw("disks", ""), saw(*IMAGES)), {("space", "s/other")}, set(), {"s/other"}, NOBODY, {})


# --- what they lead to --------------------------------------------------------------------------


def test_a_look_is_as_old_as_the_host_says_and_never_in_the_future() -> None:
    old = replace(saw("mounts", "", mount("/")), age_s=30.0)
    early = replace(saw("disks", ""), age_s=-30.0)
    view = after(host(), [old, early], 1000.0, {})
    assert view.reported_at == 1000.0
    assert view.looks["mounts", ""].at == 970.0
    assert view.looks["disks", ""].at == 1000.0


def test_a_look_older_than_time_is_merely_very_old() -> None:
    assert after(host(), [replace(saw("mounts", ""), age_s=1e300)], 1000.0, {}).looks["mounts", ""].at == 0.0


def test_what_a_full_report_does_not_hold_stays() -> None:
    view = after(host(look("mounts", "", mount("/"))), [saw("disks", "")], 1000.0, {})
    assert set(view.looks) == {("mounts", ""), ("disks", "")}


def test_changes_of_a_look_that_is_not_known_need_a_full_report() -> None:
    change = replace(saw("mounts", ""), full=False)
    with pytest.raises(FullReportNeeded):
        after(host(), [saw("disks", ""), change], 1000.0, {})


# --- what is forgotten --------------------------------------------------------------------------

HERE = host(look(*IMAGES, image("a")), look("space", VOLUME.key), look("disks", ""))


def test_what_the_first_look_of_a_host_could_not_see_stays_as_another_host_saw_it() -> None:
    key = ("images", VOLUME.key)
    former = {"h2": host(look(*key, image("a/1"), image("b"), image("c")), name="h2")}
    unread = Fault(code="io-error", text="cannot be read", hides="a/")
    first = after(host(), [saw(*key, image("b"), faults=(unread,))], 1000.0, former)
    assert set(first.looks[key].seen.facts) == {"a/1", "b"}
    all_seen = after(first, [saw(*key, image("b"))], 1001.0, former)
    assert set(all_seen.looks[key].seen.facts) == {"b"}


def test_a_host_that_saw_nothing_at_its_first_look_has_seen_nothing() -> None:
    key = ("images", VOLUME.key)
    former = {"h2": host(look(*key, image("a")), name="h2")}
    blind = after(host(), [saw(*key, faults=(TIMED_OUT,))], 1000.0, former)
    assert (blind.looks[key].seen.facts, blind.looks[key].good_at) == ({}, 0.0)


def test_looks_at_volumes_that_are_not_the_hosts_any_more_are_outdated() -> None:
    assert set(outdated(HERE, set(), set(), {}, NOBODY)) == {IMAGES, ("space", VOLUME.key)}
    assert outdated(HERE, set(), {VOLUME.key}, {}, NOBODY) == []


def test_looks_into_a_volume_are_outdated_once_another_host_looks_there_well() -> None:
    def then(*looks: Any) -> list[tuple[str, str]]:
        views = {"h1": HERE, "h2": host(*looks, name="h2")}
        return outdated(HERE, {("space", VOLUME.key)}, {VOLUME.key}, views, {IMAGES: "h2"})

    assert then() == []
    assert then(look(*IMAGES, faults=[TIMED_OUT])) == []
    assert then(look(*IMAGES)) == [IMAGES]


def test_a_view_without_a_look_has_all_others() -> None:
    assert set(without(HERE, [IMAGES]).looks) == {("space", VOLUME.key), ("disks", "")}
