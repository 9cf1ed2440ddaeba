"""Gluster's words, and what its bricks can do without."""

from __future__ import annotations

import pytest

from storekeeper.merge.gluster import configuration, lost
from storekeeper.observation import GlusterVolume
from tests.merge.builders import distributed, gluster_volume, replicated


@pytest.mark.parametrize(
    ("volume", "text"),
    [
        (gluster_volume("uuuuuu"), "1 x (4 + 2)"),
        (gluster_volume("u" * 12, dist_count=2), "2 x (4 + 2)"),
        (replicated("uuuuuu"), "2 x 3"),
        (replicated("uuu"), "1 x 3"),
        (replicated("uu", 2), "1 x 2"),
        (replicated("uuu", 3, 1), "1 x (2 + 1)"),
        (replicated("uuuuuu", 3, 1), "2 x (2 + 1)"),
        (distributed("uu"), "2"),
    ],
)
def test_the_configuration_is_written_as_gluster_writes_it(volume: GlusterVolume, text: str) -> None:
    assert configuration(volume) == text


FIXED = {"cluster.quorum-type": "fixed", "cluster.quorum-count": "1"}


@pytest.mark.parametrize(
    ("volume", "lost_subvolumes"),
    [
        # disperse: as many as its redundancy
        (gluster_volume("uuuudd"), 0),
        (gluster_volume("uuuddd"), 1),
        (gluster_volume("uuuu??"), 0),
        (gluster_volume("uuuud?" + "uuudd?", dist_count=2), 1),
        # plain distribute: none
        (distributed("uu"), 0),
        (distributed("ud"), 1),
        # replica 3, `auto` by default: more than half
        (replicated("uud"), 0),
        (replicated("udd"), 1),
        (replicated("uud" + "ddu"), 1),
        # an even number under `auto`: just half will do with the first among them
        (replicated("ud", 2, options={"cluster.quorum-type": "auto"}), 0),
        (replicated("du", 2, options={"cluster.quorum-type": "auto"}), 1),
        (replicated("uudd", 4), 0),
        (replicated("dduu", 4), 1),
        # replica 2, `none` by default: one will do
        (replicated("du", 2), 0),
        (replicated("dd", 2), 1),
        # fixed
        (replicated("udd", options=FIXED), 0),
        (replicated("ddd", options=FIXED), 1),
        (replicated("uud", options={**FIXED, "cluster.quorum-count": "3"}), 1),
        (replicated("uud", options={**FIXED, "cluster.quorum-count": "9" * 5000}), 0),
        # an arbiter counts, but holds no data
        (replicated("udu", 3, 1), 0),
        (replicated("ddu", 3, 1), 1),
        (replicated("ddu", 3, 1, options={"cluster.quorum-type": "none"}), 1),
    ],
)  # fmt: skip
def test_a_subvolume_tolerates_what_its_client_tolerates(volume: GlusterVolume, lost_subvolumes: int) -> None:
    assert len(lost(volume)) == lost_subvolumes
