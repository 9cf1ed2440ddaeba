"""How many threads open files, by what one open costs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storekeeper.sources.threads import LEAST, MOST, latency_rules, threads_for


@pytest.mark.parametrize(
    ("filesystem_type", "measured"),
    [
        ("xfs", False),
        ("ext4", False),
        ("ocfs2", False),
        ("nfs4", True),
        ("cifs", True),
        ("fuse.glusterfs", True),
    ],
)
def test_only_where_calls_may_be_round_trips_is_it_worth_while_to_measure(
    filesystem_type: str, measured: bool
) -> None:
    assert latency_rules(filesystem_type) is measured


def test_what_the_kernel_answers_from_memory_gets_one_thread() -> None:
    assert threads_for(0.00003) == 1


@given(st.floats(0.0002, 10), st.floats(0.0002, 10))
def test_the_longer_a_round_trip_the_more_threads_within_bounds(one: float, other: float) -> None:
    few, many = sorted((one, other))
    assert LEAST <= threads_for(few) <= threads_for(many) <= MOST
