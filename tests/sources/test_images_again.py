"""Whatever happens between two looks, the second one finds what a first one would."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from storekeeper.observation import Fact
from storekeeper.sources import images
from storekeeper.sources.contract import Scope
from tests.formats.seeds import seeds
from tests.sources.directory_host import DirectoryHost
from tests.sources.test_images_of_several_files import DESCRIPTOR

NAMES = ("a", "b.raw", "c.img", "d.part", "team", "team/a", "team/b.raw", "team/.c")
CONTENTS: dict[str, bytes] = {
    "qcow2": seeds()["qcow2-v3"].pieces[0],
    "raw": bytes(1 << 20),
    "text": b"hello",
    "claims": DESCRIPTOR.format(
        extents='RW 8 FLAT "a" 0\nRW 8 FLAT "b.raw" 0\nRW 8 FLAT "team/a" 0'
    ).encode(),
    "claims another": DESCRIPTOR.format(extents='RW 8 FLAT "c.img" 0\nRW 8 FLAT "../d.part" 0').encode(),
}
names = st.sampled_from(NAMES)
steps = st.one_of(
    st.tuples(st.just("write"), names, st.sampled_from(tuple(CONTENTS))),
    st.tuples(st.just("remove"), names, st.just("")),
    st.tuples(st.just("move"), names, names),
    st.tuples(st.just("use"), names, st.sampled_from(("", "raw", "vmdk", "qcow2"))),
    st.tuples(st.just("do not use"), names, st.just("")),
)


def take(root: Path, used: dict[str, str], step: tuple[str, str, str]) -> set[str]:
    """Takes a step; the paths that inotify would tell of."""
    what, name, other = step
    path = root / name
    if what == "use":
        used[name] = other
        return set()
    if what == "do not use":
        used.pop(name, None)
        return set()
    if what == "write":
        remove(path)
        if path.parent.is_file():
            path.parent.unlink()
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(CONTENTS[other])
        return {name, str(Path(name).parent).replace(".", "") or name}
    if what == "move":
        target = root / other
        related = target == path or target in path.parents or path in target.parents
        if path.exists() and target.parent.is_dir() and not related:
            remove(target)
            path.rename(target)
        return {name, other}
    remove(path)
    return {name}


def remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    elif path.exists():
        path.unlink()


@settings(max_examples=200, deadline=None)
@example(
    rounds=[(False, [("write", "a", "claims"), ("use", "a", "raw")]), (False, [("use", "a", "")])],
    kind="ext4",
)
@given(
    rounds=st.lists(st.tuples(st.booleans(), st.lists(steps, max_size=4)), max_size=5),
    kind=st.sampled_from(("ext4", "xfs")),
)
def test_a_look_that_knows_the_last_one_finds_what_one_without_would(
    rounds: list[tuple[bool, list[tuple[str, str, str]]]], kind: str
) -> None:
    host = DirectoryHost(kind)
    used: dict[str, str] = {}
    last = None
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as place:
        for whole, taken in rounds:
            before = dict(used)
            paths = {path for step in taken for path in take(Path(place), used, step)}
            # A changed scope is looked at whole; the agent sees to that.
            hints = () if whole or before != used or not paths else tuple(sorted(paths))
            last = images.probe(
                host, Scope(key="s/v", root=place, paths=hints, used=dict(used)), last, now_ns=lambda: 1 << 62
            )
            fresh = images.probe(host, Scope(key="s/v", root=place, used=dict(used)), None)
            assert known(last.facts) == known(fresh.facts)
            assert last.faults == fresh.faults


def known(facts: Mapping[str, Fact]) -> dict[str, Fact]:
    return dict(sorted(facts.items()))
