"""What waits to be healed, from what Gluster's tools really print; see captured_output/gluster."""

from __future__ import annotations

from typing import cast

from hypothesis import given, settings
from hypothesis import strategies as st

from storekeeper.errors import HostError, TimedOut
from storekeeper.observation import UNKNOWN, GlusterHeal, Seen
from storekeeper.sources.contract import Host, Output, Scope
from storekeeper.sources.gluster import answer
from storekeeper.sources.gluster_heals import FILES_LIMIT, parse_split_brain, parse_summary, probe
from tests.sources.paper_host import PaperHost
from tests.sources.tool_output import load

# The volumes of `info-all-kinds` that are started and can heal.
HEALING = {"arbitrated", "pair", "test_vol1"}


class GlusterNode(PaperHost):
    """A host whose gluster answers `info` and, by volume, the questions for heals."""

    def __init__(self, info: str, said: dict[tuple[str, str], Output | HostError]) -> None:
        super().__init__({"/var/lib/glusterd/vols/test_vol1/info": "", "/proc/self/mountinfo": ""})
        self.info = load(info)
        self.said = said
        self.asked: list[tuple[str, str]] = []

    def run(self, argv: object, deadline_s: float) -> Output:
        match tuple(cast(tuple[str, ...], argv))[3:]:
            case ("volume", "info", "--xml"):
                return self.info
            case ("volume", "heal", volume, "info", what, "--xml"):
                self.asked.append((volume, what))
                said = self.said[volume, what]
                if isinstance(said, HostError):
                    raise said
                return said
        raise AssertionError(argv)


WHOLE: dict[tuple[str, str], Output | HostError] = {
    ("arbitrated", "summary"): load("gluster/heal-ok"),
    ("test_vol1", "summary"): load("gluster/heal-two-bricks-down"),
    ("pair", "summary"): load("gluster/heal-in-split-brain"),
    ("pair", "split-brain"): load("gluster/split-brain-files"),
}


def seen(host: GlusterNode, *, ask_cluster: bool = True) -> Seen:
    return probe(cast(Host, host), Scope(ask_cluster=ask_cluster), None)


def heal(found: Seen, volume: str) -> GlusterHeal:
    fact = found.facts[volume]
    assert isinstance(fact, GlusterHeal)
    return fact


def test_only_started_volumes_that_can_heal_are_asked() -> None:
    host = GlusterNode("gluster/info-all-kinds", WHOLE)
    assert set(seen(host).facts) == HEALING
    assert {volume for volume, _ in host.asked} == HEALING


def test_entries_are_told_brick_by_brick_and_a_brick_that_is_down_tells_none() -> None:
    bricks = heal(seen(GlusterNode("gluster/info-all-kinds", WHOLE)), "test_vol1").bricks
    told = [(brick.host, brick.path, brick.entries) for brick in bricks]
    assert told[1] == ("flexdev01", "/data/brick2", UNKNOWN)
    assert [brick.entries > 0 for brick in bricks] == [True, False, False, True, True, True]


def test_files_in_split_brain_are_named_once_by_the_path_that_any_brick_knows() -> None:
    fact = heal(seen(GlusterNode("gluster/info-all-kinds", WHOLE)), "pair")
    assert [brick.split_brain_entries for brick in fact.bricks] == [2, 2]
    assert fact.split_brain_files == ("/team/data.raw", "/win.qcow2")


def test_without_a_split_brain_its_files_are_not_asked_for() -> None:
    host = GlusterNode("gluster/info-all-kinds", WHOLE)
    seen(host)
    assert [volume for volume, what in host.asked if what == "split-brain"] == ["pair"]


def test_a_file_that_no_brick_knows_by_path_is_named_by_its_id() -> None:
    root = answer(load("gluster/split-brain-files"), "gluster")
    for brick in root.findall("healInfo/bricks/brick")[1:]:
        brick.clear()
    assert all(name.startswith("<gfid:") for name in parse_split_brain(root))


def test_a_storm_of_files_in_split_brain_is_cut() -> None:
    files = "".join(f'<file gfid="{n}">/{n:03}.raw</file>' for n in range(100))
    said = (
        f"<cliOutput><opRet>0</opRet><healInfo><bricks><brick>{files}</brick></bricks></healInfo></cliOutput>"
    )
    names = parse_split_brain(answer(Output(status=0, out=said.encode(), err=b""), "gluster"))
    assert names == tuple(f"/{n:03}.raw" for n in range(FILES_LIMIT))


def test_a_volume_that_does_not_answer_hides_itself_alone() -> None:
    said = WHOLE | {("test_vol1", "summary"): TimedOut("gluster", "no answer")}
    found = seen(GlusterNode("gluster/info-all-kinds", said))
    assert set(found.facts) == HEALING - {"test_vol1"}
    assert [(fault.code, fault.hides) for fault in found.faults] == [("timed-out", "test_vol1")]


def test_names_that_cannot_be_had_leave_the_counts_with_a_fault() -> None:
    said = WHOLE | {("pair", "split-brain"): TimedOut("gluster", "no answer")}
    fact = heal(seen(GlusterNode("gluster/info-all-kinds", said)), "pair")
    assert [brick.split_brain_entries for brick in fact.bricks] == [2, 2]
    assert [fault.code for fault in fact.faults] == ["timed-out"]


def test_a_refusal_hides_the_volume_in_glusters_own_words() -> None:
    said = WHOLE | {("pair", "summary"): load("gluster/heal-of-a-distributed-volume")}
    found = seen(GlusterNode("gluster/info-all-kinds", said))
    assert "Volume spread is not of type replicate/disperse" in found.faults[0].text


def test_a_glusterd_that_does_not_run_hides_everything() -> None:
    assert seen(GlusterNode("gluster/glusterd-down", {})).blind


def test_a_host_that_may_not_ask_the_cluster_asks_nothing() -> None:
    host = GlusterNode("gluster/info-all-kinds", WHOLE)
    assert (seen(host, ask_cluster=False).facts, host.asked) == ({}, [])


@settings(deadline=None)  # the machine may be busy
@given(st.data())
def test_changed_bytes_in_what_gluster_prints_never_raise(data: st.DataObject) -> None:
    changed: dict[tuple[str, str], Output | HostError] = {}
    for question, said in WHOLE.items():
        assert isinstance(said, Output)
        out = bytearray(said.out)
        at = data.draw(st.integers(0, len(out) - 1))
        out[at : at + data.draw(st.integers(0, 30))] = data.draw(st.binary(max_size=6))
        changed[question] = Output(status=0, out=bytes(out), err=b"")
    found = seen(GlusterNode("gluster/info-all-kinds", changed))
    hidden = {fault.hides for fault in found.faults}
    assert found.facts.keys() | hidden == HEALING
    for fact in found.facts.values():
        assert isinstance(fact, GlusterHeal)
        assert all(brick.entries >= UNKNOWN for brick in fact.bricks)


def test_a_summary_of_nothing_is_a_heal_without_bricks() -> None:
    said = b"<cliOutput><opRet>0</opRet></cliOutput>"
    assert parse_summary(answer(Output(status=0, out=said, err=b""), "gluster"), "v").bricks == ()
