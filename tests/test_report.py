"""A report is the changes between two looks."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from storekeeper.observation import Fact, Fault, Pool, Seen, Space
from storekeeper.report import apply, changes, hidden, retain

MIB = 1 << 20
keys = st.sampled_from(["a", "b", "team/a", "team/b", "team/deep/c"])
pools = st.builds(Pool, key=keys, name=st.text(max_size=3), kind=st.just("dir"), target=st.just("/x"))
faults = st.lists(
    st.builds(
        Fault, code=st.just("io-error"), text=st.just("?"), hides=st.sampled_from(["", "a", "team/", "*"])
    ),
    max_size=2,
).map(tuple)


@st.composite
def seens(draw: st.DrawFn) -> Seen:
    facts: dict[str, Fact] = {pool.key: pool for pool in draw(st.lists(pools, max_size=5))}
    return Seen(source="guests", scope="", facts=facts, faults=draw(faults))


def space(available_bytes: int, total_bytes: int = 1 << 40, *, read_only: bool = False) -> Seen:
    fact = Space(
        key="s/v", path="/v", exists=True, is_mount_point=True, mount=None, filesystem_id="x",
        total_bytes=total_bytes, available_bytes=available_bytes, read_only=read_only,
    )  # fmt: skip
    return Seen(source="space", scope="s/v", facts={"s/v": fact})


@given(seens(), seens())
def test_applying_the_changes_between_two_looks_to_the_first_gives_the_second(old: Seen, new: Seen) -> None:
    assert apply(old, changes(old, new)) == new


@given(seens())
def test_a_first_report_is_full_and_needs_nothing_before_it(new: Seen) -> None:
    assert apply(None, changes(None, new)) == new


@given(seens())
def test_an_unchanged_look_says_nothing(seen: Seen) -> None:
    nothing = changes(seen, seen)
    assert (nothing.facts, nothing.gone, nothing.full) == ([], [], False)


@given(seens(), seens())
def test_what_a_fault_hid_stays_as_it_was_and_nothing_else_does(old: Seen, new: Seen) -> None:
    kept = retain(old, new)
    for key, fact in old.facts.items():
        if key not in new.facts:
            assert (kept.facts.get(key) == fact) == hidden(key, new.faults)
    assert all(kept.facts[key] == fact for key, fact in new.facts.items())


def test_a_change_of_free_space_under_a_mebibyte_is_not_worth_a_document() -> None:
    small = 1 << 30
    assert changes(space(50 * MIB, small), space(50 * MIB + MIB - 1, small)).facts == []
    assert changes(space(50 * MIB, small), space(51 * MIB, small)).facts != []


def test_on_a_large_volume_a_ten_thousandth_of_it_is_the_threshold() -> None:
    total = 1 << 40
    assert changes(space(0), space(total // 10_000 - 1)).facts == []
    assert changes(space(0), space(total // 10_000)).facts != []


def test_small_changes_add_up_because_the_holder_keeps_the_old_figure() -> None:
    small = 1 << 30
    held = space(0, small)
    for available in range(0, 2 * MIB, MIB // 4):
        held = apply(held, changes(held, space(available, small)))
    fact = held.facts["s/v"]
    assert isinstance(fact, Space)
    assert fact.available_bytes == MIB


def test_any_other_change_of_a_volumes_place_is_reported_at_once() -> None:
    assert changes(space(0), space(1, read_only=True)).facts != []


def test_a_full_report_is_exact() -> None:
    assert apply(None, changes(None, space(12345))) == space(12345)


def test_a_look_that_hid_everything_keeps_all_of_the_former_one() -> None:
    old = space(5)
    new = Seen(source="space", scope="s/v", facts={}, faults=(Fault(code="timed-out", text="", hides="*"),))
    assert retain(old, new).facts == old.facts
    assert replace(retain(old, new), facts={}) == new


@given(seens())
def test_facts_that_are_as_before_are_the_very_objects_they_were(seen: Seen) -> None:
    copies = {key: replace(fact) for key, fact in seen.facts.items()}
    again = apply(seen, changes(None, replace(seen, facts=copies)))
    assert all(again.facts[key] is fact for key, fact in seen.facts.items())
