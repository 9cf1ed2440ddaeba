"""Whatever is seen and lost on the way, a report that arrives leaves the manager with what is seen."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from msgspec.structs import replace

from storekeeper.agent.outbox import Identity, Outbox
from storekeeper.errors import FullReportNeeded
from storekeeper.merge.truth import HostView
from storekeeper.observation import Fact, Fault, Pool, Seen, Space
from storekeeper.report import (
    SPACE_CHANGE_BYTES,
    Acknowledged,
    Changes,
    Report,
    changes,
    hidden,
    received,
)
from tests.manager.sequence import Sequence

POOLS = ("guests", "")
VOLUME = ("images", "s/a")
KEYS = [POOLS, VOLUME]


def identity(run: int = 1) -> Identity:
    return Identity(host_id="h", version="1", machine_id="m", boot_id="b", run=run)


def look(
    *names: str, key: tuple[str, str] = POOLS, full: bool = True, faults: tuple[Fault, ...] = ()
) -> Changes:
    facts: list[Fact] = [Pool(key=name, name=name, kind="dir", target="/") for name in names]
    return Changes(source=key[0], scope=key[1], full=full, facts=facts, gone=[], faults=faults)


def answered(outbox: Outbox, report: Report) -> None:
    outbox.acknowledged(Acknowledged(run=report.run, number=report.number, scopes=""))


def test_the_first_report_is_full_and_the_next_tells_what_changed_and_what_was_looked_at() -> None:
    outbox = Outbox(identity())
    outbox.look(look("a", "b"), at=1.0)
    first = outbox.report(now=3.0, sent_at=0.0)
    assert (first.full, first.number) == (True, 1)
    assert [(change.full, len(change.facts), change.age_s) for change in first.changes] == [(True, 2, 2.0)]
    answered(outbox, first)
    outbox.look(look("a", "b"), at=4.0)
    outbox.look(look("x", key=VOLUME), at=4.5)
    second = outbox.report(now=5.0, sent_at=0.0)
    assert (second.full, second.number) == (False, 2)
    assert [(c.source, c.full, len(c.facts), c.age_s) for c in second.changes] == [
        ("guests", False, 0, 1.0),
        ("images", True, 1, 0.5),
    ]


def test_a_report_that_is_not_answered_is_sent_again_as_it_was_but_older() -> None:
    outbox = Outbox(identity())
    outbox.look(look("a"), at=1.0)
    first = outbox.report(now=1.0, sent_at=0.0)
    outbox.look(look("b"), at=2.0)
    again = outbox.report(now=9.0, sent_at=0.0)
    assert again.number == first.number
    assert [change.age_s for change in again.changes] == [8.0]
    assert [fact.key for change in again.changes for fact in change.facts] == ["a"]
    answered(outbox, again)
    assert outbox.waiting


def test_an_answer_to_another_report_acknowledges_nothing() -> None:
    outbox = Outbox(identity(run=7))
    outbox.look(look("a"), at=1.0)
    report = outbox.report(now=1.0, sent_at=0.0)
    outbox.acknowledged(Acknowledged(run=6, number=report.number, scopes=""))
    outbox.acknowledged(Acknowledged(run=7, number=report.number + 1, scopes=""))
    assert outbox.report(now=1.0, sent_at=0.0) == report


def test_a_full_report_that_is_asked_for_follows_in_number_and_tells_all() -> None:
    outbox = Outbox(identity())
    outbox.look(look("a"), at=1.0)
    outbox.look(look("x", key=VOLUME), at=1.0)
    answered(outbox, outbox.report(now=1.0, sent_at=0.0))
    outbox.look(look("a", "b"), at=2.0)
    refused = outbox.report(now=2.0, sent_at=0.0)
    outbox.tell_all()
    full = outbox.report(now=2.0, sent_at=0.0)
    assert (full.full, full.number) == (True, refused.number + 1)
    assert [(change.source, change.full, len(change.facts)) for change in full.changes] == [
        ("guests", True, 2),
        ("images", True, 1),
    ]


def test_a_scope_that_is_gone_is_told_no_more_and_in_full_when_it_comes_back() -> None:
    outbox = Outbox(identity())
    outbox.look(look("x", key=VOLUME), at=1.0)
    on_its_way = outbox.report(now=1.0, sent_at=0.0)
    outbox.keep([POOLS])
    outbox.keep([POOLS, VOLUME])
    outbox.look(look("x", key=VOLUME), at=2.0)
    answered(outbox, on_its_way)
    assert [change.full for change in outbox.report(now=2.0, sent_at=0.0).changes] == [True]


def space(available: int) -> Space:
    return Space(
        key="s/a", path="/a", exists=True, is_mount_point=True, mount=None, filesystem_id="",
        total_bytes=1 << 30, available_bytes=available,
    )  # fmt: skip


def space_seen(available: int) -> Changes:
    return changes(None, Seen(source="space", scope="s/a", facts={"s/a": space(available)}))


def test_an_exact_look_at_space_is_told_though_it_changed_by_little() -> None:
    outbox = Outbox(identity())
    outbox.look(space_seen(1000), at=1.0)
    answered(outbox, outbox.report(now=1.0, sent_at=0.0))
    outbox.look(space_seen(1001), at=2.0)
    assert [change.facts for change in outbox.report(now=2.0, sent_at=0.0).changes] == [[space(1001)]]


def test_changes_of_space_too_little_to_be_told_are_told_once_they_add_up() -> None:
    outbox = Outbox(identity())
    outbox.look(space_seen(0), at=1.0)
    answered(outbox, outbox.report(now=1.0, sent_at=0.0))
    told = []
    for times in range(1, 4):
        outbox.look(replace(space_seen(times * (SPACE_CHANGE_BYTES - 1)), full=False), at=2.0)
        report = outbox.report(now=2.0, sent_at=0.0)
        told.append(report.changes[0].facts)
        answered(outbox, report)
    assert told == [[], [space(2 * (SPACE_CHANGE_BYTES - 1))], []]


BLIND = (Fault("timed-out", "no answer", "*"),)


def delivered(outbox: Outbox, view: HostView) -> HostView:
    """The manager's view after a report that arrived and was answered."""
    report = outbox.report(now=9.0, sent_at=0.0)
    for change in report.changes:
        view = received(view, change, 9.0)
    answered(outbox, report)
    return view


def names_held(view: HostView) -> set[str]:
    return set(view.looks[POOLS].seen.facts)


def test_what_the_manager_kept_below_an_agents_first_fault_goes_once_it_is_seen_to_be_gone() -> None:
    former = Outbox(identity())
    former.look(look("a", "gone"), at=1.0)
    view = delivered(former, HostView(host_id="h"))
    outbox = Outbox(identity(run=2))
    outbox.look(look(faults=BLIND), at=2.0)
    view = delivered(outbox, view)
    assert names_held(view) == {"a", "gone"}
    outbox.look(look("a"), at=3.0)
    assert names_held(delivered(outbox, view)) == {"a"}


def test_what_went_just_before_a_fault_goes_once_the_fault_is_over() -> None:
    outbox = Outbox(identity())
    outbox.look(look("a", "gone"), at=1.0)
    view = delivered(outbox, HostView(host_id="h"))
    outbox.look(look("a"), at=2.0)
    outbox.look(look(full=False, faults=BLIND), at=3.0)
    view = delivered(outbox, view)
    outbox.look(look("a"), at=4.0)
    assert names_held(delivered(outbox, view)) == {"a"}


names = st.lists(st.sampled_from(["d/a", "d/b", "d/c", "e"]), unique=True)
MOSTLY = st.sampled_from([True, True, False])
faults = st.lists(
    st.sampled_from(["*", "d/", "d/a", ""]).map(lambda hides: Fault("io-error", "no", hides)), max_size=2
).map(tuple)
LOOKS = st.tuples(st.sampled_from(KEYS), names, faults, st.integers(0, 1), st.booleans())


class OneHost(RuleBasedStateMachine):
    """An agent, a manager, and a network that loses reports and answers."""

    def __init__(self) -> None:
        super().__init__()
        self.run = 1
        self.outbox = Outbox(identity())
        self.seen: dict[tuple[str, str], Seen] = {}
        self.delivered = False
        self.now = 0.0
        self.manager_starts()
        self.view = HostView(host_id="h")

    def manager_starts(self) -> None:
        self.sequence = Sequence()

    def manager_loses_all(self) -> None:
        self.sequence, self.view = Sequence(), HostView(host_id="h")
        self.delivered = False

    def agent_starts(self) -> None:
        self.run += 1
        self.outbox, self.seen, self.delivered = Outbox(identity(self.run)), {}, False

    @rule(what=st.sampled_from([manager_starts, manager_loses_all, agent_starts]))
    def starts_anew(self, what: Callable[[OneHost], None]) -> None:
        what(self)

    @rule(looks=st.lists(LOOKS, min_size=1, max_size=3))
    def looks(self, looks: list[tuple[tuple[str, str], list[str], tuple[Fault, ...], int, bool]]) -> None:
        for each in looks:
            self.look(*each)

    def look(
        self, key: tuple[str, str], names: list[str], faults: tuple[Fault, ...], version: int, full: bool
    ) -> None:
        self.now += 1
        facts: dict[str, Fact] = {
            name: Pool(key=name, name=name, kind="dir", target=str(version))
            for name in names
            if not hidden(name, faults)
        }
        old = self.seen.get(key)
        if old is not None:  # as a worker keeps what a fault hides
            facts |= {name: fact for name, fact in old.facts.items() if hidden(name, faults)}
        new = Seen(source=key[0], scope=key[1], facts=facts, faults=faults)
        self.outbox.look(changes(None if full else old, new), self.now)
        self.seen[key] = new
        self.delivered = False

    @precondition(lambda self: self.seen)
    @rule(data=st.data())
    def scope_goes(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.seen)))
        del self.seen[key]
        self.outbox.keep(list(self.seen))
        looks = {each: held for each, held in self.view.looks.items() if each != key}
        self.view = HostView(host_id="h", looks=looks)

    @rule(arrives=MOSTLY, twice=st.booleans(), answer_arrives=MOSTLY)
    def sends(self, arrives: bool, twice: bool, answer_arrives: bool) -> None:
        self.now += 1
        report = self.outbox.report(self.now, 0.0)
        if not arrives:
            return
        try:
            for _ in range(1 + twice):
                self.receive(report)
        except FullReportNeeded:
            if answer_arrives:
                self.outbox.tell_all()
            return
        if answer_arrives:
            answered(self.outbox, report)
            self.delivered = not self.outbox.waiting

    def receive(self, report: Report) -> None:
        if self.sequence.is_new(report):
            taken = [change for change in report.changes if (change.source, change.scope) in self.seen]
            if not all(each.full or (each.source, each.scope) in self.view.looks for each in taken):
                raise FullReportNeeded("nothing to follow on")
            for change in taken:
                self.view = received(self.view, change, self.now)
            self.sequence.applied(report)

    def teardown(self) -> None:
        """However it went, two or three reports that arrive put everything right."""
        for _ in range(3):
            self.sends(arrives=True, twice=False, answer_arrives=True)
        assert self.delivered
        self.a_delivered_report_leaves_the_manager_with_what_is_seen()

    @invariant()
    def a_delivered_report_leaves_the_manager_with_what_is_seen(self) -> None:
        if not self.delivered:
            return
        for key, seen in self.seen.items():
            held = self.view.looks[key].seen
            assert held.faults == seen.faults
            for name in held.facts.keys() | seen.facts.keys():
                if not hidden(name, seen.faults):
                    assert held.facts.get(name) == seen.facts.get(name)
                elif name in seen.facts:
                    assert held.facts.get(name) == seen.facts[name]


TestOneHost = OneHost.TestCase
TestOneHost.settings = settings(max_examples=200, stateful_step_count=30)
