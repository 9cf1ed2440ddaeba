"""Whatever happens to the files of a reflink family: its parents form no loop, and those decided stay."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from storekeeper.merge.clones import LOOP
from storekeeper.merge.truth import Look, Memory, Remembered, Truth
from storekeeper.observation import UNKNOWN
from tests.merge.builders import (
    NOW,
    declared,
    external,
    host,
    image,
    images,
    merged,
    sharing,
    spaced,
    truths_of,
)

V = external()
NAMES = st.sampled_from(["a", "b", "c", "d", "e"])
BLOCKS = 4


@dataclass
class File:
    """What an inode holds. Equal blocks at one place are a shared extent."""

    inode: int
    born_ns: int
    modified_ns: int
    blocks: list[int]


@dataclass
class Volume:
    """A filesystem as these tests need it: files that are made, copied, moved, written to and removed."""

    keeps_births: bool
    files: dict[str, File] = field(default_factory=dict)
    clock: int = 0

    def make(self, name: str, blocks: list[int] | None = None) -> None:
        """A new file in the place of whatever had that name."""
        fresh = [self.tick() for _ in range(BLOCKS)]
        now = self.tick()
        self.files[name] = File(now, now if self.keeps_births else UNKNOWN, now, blocks or fresh)

    def do(self, action: str, one: str, other: str, block: int) -> None:
        file = self.files.get(one)
        if action == "make":
            self.make(one)
        elif file is None:
            return
        elif action == "copy":
            self.make(other, list(file.blocks))
        elif action == "copy into":
            if other in self.files:
                self.files[other].blocks = list(file.blocks)
                self.files[other].modified_ns = self.tick()
        elif action == "write":
            file.blocks[block] = self.tick()
            file.modified_ns = self.tick()
        elif action == "touch":
            file.modified_ns = self.tick()
        elif action == "move":
            self.files[other] = self.files.pop(one)
        else:
            del self.files[one]

    def tick(self) -> int:
        self.clock += 1
        return self.clock

    def shared(self, one: str, other: str) -> int:
        return sum(
            mine == its for mine, its in zip(self.files[one].blocks, self.files[other].blocks, strict=True)
        )

    def looks(self) -> tuple[Look, ...]:
        found = [
            image(key, "raw", inode=file.inode, born_ns=file.born_ns, modified_ns=file.modified_ns)
            for key, file in self.files.items()
        ]
        pairs = [
            (one, other, self.shared(one, other)) for one in self.files for other in self.files if one < other
        ]
        return images(V, *found), sharing(V, *(pair for pair in pairs if pair[2]))


ACTIONS = st.tuples(
    st.sampled_from(["make", "copy", "copy", "copy", "copy into", "write", "touch", "move", "remove"]),
    NAMES,
    NAMES,
    st.integers(0, BLOCKS - 1),
)


def clones(truth: Truth) -> dict[str, str]:
    return {key: each.parent[1] for key, each in truths_of(truth).items() if each.parent}


@settings(deadline=None, max_examples=150)
@given(st.booleans(), st.lists(st.lists(ACTIONS, min_size=1, max_size=4), min_size=1, max_size=8))
def test_no_history_of_a_family_makes_a_loop_and_a_decided_parent_that_stands_unchanged_stays(
    keeps_births: bool, history: list[list[tuple[str, str, str, int]]]
) -> None:
    volume = Volume(keeps_births)
    volume.make("a")
    truth = merged(declared(V), host(spaced(V), *volume.looks()))
    for step, actions in enumerate(history, start=1):
        before, decided = dict(volume.files), clones(truth)
        for action in actions:
            volume.do(*action)
        view = host(spaced(V), *volume.looks())
        scratch = merged(declared(V), view, memory=truth.memory, now=NOW + step)
        truth = merged(declared(V), view, memory=truth.memory, now=NOW + step, previous=truth)
        assert truth == scratch

        found = clones(truth)
        assert not any(LOOP in each.faults for each in truths_of(truth).values())
        for key, parent in decided.items():
            same = all(volume.files.get(each) is before[each] for each in (key, parent))
            if same and volume.shared(key, parent):
                assert found[key] == parent
        for key, parent in found.items():
            assert volume.shared(key, parent)
            assert not keeps_births or volume.files[parent].born_ns < volume.files[key].born_ns
        if keeps_births:
            # Whoever shares with an older one was made from one.
            for key in volume.files.keys() - found.keys():
                for other in volume.files.keys() - {key}:
                    assert (
                        not volume.shared(key, other)
                        or volume.files[key].born_ns < volume.files[other].born_ns
                    )


PAIRS = st.lists(
    st.tuples(NAMES, NAMES, st.integers(1, 3)).filter(lambda pair: pair[0] != pair[1]), max_size=8
)
REMEMBERED = st.builds(
    Remembered,
    parents=st.dictionaries(NAMES, NAMES),
    first_seen=st.dictionaries(NAMES, st.sampled_from([NOW - 5, NOW - 3])),
    identities=st.dictionaries(NAMES, st.tuples(st.integers(0, 1), st.sampled_from([UNKNOWN, 1, 2]))),
)
FILES = st.dictionaries(
    NAMES,
    st.tuples(
        st.sampled_from([UNKNOWN, 1, 2, 3]),
        st.integers(0, 1),
        st.integers(0, 2),
        st.sampled_from([None, None, "a", "b", "c"]),
    ),
)


@settings(deadline=None, max_examples=150)
@given(FILES, PAIRS, REMEMBERED)
def test_whatever_is_remembered_a_loop_is_made_by_headers_alone(
    files: dict[str, tuple[int, int, int, str | None]], pairs: list[tuple[str, str, int]], kept: Remembered
) -> None:
    found = [
        image(
            key, "qcow2" if parent else "raw", parent=parent, born_ns=born, inode=inode, modified_ns=modified
        )
        for key, (born, inode, modified, parent) in files.items()
    ]
    view = host(spaced(V), images(V, *found), sharing(V, *pairs))
    truth = merged(declared(V), view, memory=Memory(volumes={V.key: kept}))
    assert {each.parent_by for each in truths_of(truth).values() if LOOP in each.faults} <= {"header"}
    again = merged(declared(V), view, memory=truth.memory, previous=truth)
    assert truths_of(again) == truths_of(truth)
