"""A burst of events becomes one look at few paths."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from storekeeper.agent.settling import CEILING_S, DELAY_S, PATH_LIMIT, Settling


def test_one_event_is_due_after_the_delay() -> None:
    settling = Settling()
    settling.add(("a",), 100.0)
    assert settling.due_at() == 100.0 + DELAY_S
    assert settling.take() == ("a",)
    assert not settling.waiting


def test_a_burst_is_due_when_it_pauses_but_no_later_than_the_ceiling() -> None:
    settling = Settling()
    for step in range(1000):
        settling.add(("a",), 100.0 + step * DELAY_S / 2)
    assert settling.due_at() == 100.0 + CEILING_S


def test_an_event_without_a_path_means_the_whole_scope() -> None:
    settling = Settling()
    settling.add(("a",), 1.0)
    settling.add((), 1.0)
    settling.add(("b",), 1.0)
    assert settling.whole
    assert settling.take() == ()


def test_too_many_paths_become_their_directories_and_then_the_whole_scope() -> None:
    settling = Settling()
    settling.add(tuple(f"team/{number}.qcow2" for number in range(PATH_LIMIT + 1)), 1.0)
    assert settling.take() == ("team",)
    settling.add(tuple(f"{number}/a.qcow2" for number in range(PATH_LIMIT + 1)), 1.0)
    assert settling.take() == ()


def test_too_many_files_of_the_root_are_the_whole_scope() -> None:
    settling = Settling()
    settling.add(tuple(f"{number}.qcow2" for number in range(PATH_LIMIT + 1)), 1.0)
    assert settling.whole


@given(st.lists(st.lists(st.text("ab/", min_size=1, max_size=4), max_size=300), max_size=5))
def test_no_path_is_ever_lost(bursts: list[list[str]]) -> None:
    settling = Settling()
    for burst in bursts:
        settling.add(tuple(burst), 1.0)
    whole = settling.whole
    taken = settling.take()
    for path in (path for burst in bursts for path in burst):
        assert whole or path in taken or path.rpartition("/")[0] in taken
