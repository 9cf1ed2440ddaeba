"""What holds of the merge whatever is observed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from storekeeper.document import ImageStorageInfo
from storekeeper.merge import merge
from storekeeper.merge.details import AT_HAND, image_detail
from storekeeper.merge.scopes import scopes
from storekeeper.merge.storages import StorageBasis
from storekeeper.merge.truth import HostView, Look, Memory, Remembered, Truth
from storekeeper.naming import escape
from storekeeper.observation import (
    UNKNOWN,
    BrickHeal,
    Fault,
    GlusterHeal,
    Header,
    Image,
    Parent,
    Pool,
    Sharing,
)
from storekeeper.rows import plain
from tests.merge.builders import (
    NOW,
    declared,
    disk,
    disk_of,
    external,
    gluster,
    gluster_volume,
    guest,
    host,
    image,
    look,
    mount,
    ocfs2,
    replicated,
    space,
)

VOLUMES = (external("v"), ocfs2("o"), gluster("g"), external("n", source="nas:/x"))
DECLARED = declared(*VOLUMES, hosts=("h1", "h2"))

# Few names, so that they meet.
NAMES = st.sampled_from(["a", "b", "d/a", "d/b", "d/e/c", escape(b"\xff\n%"), "A.part"])
NAMED = st.one_of(
    NAMES,
    st.builds("/{}/{}".format, st.sampled_from(["v", "o", "g", "w"]), NAMES),
    st.builds("../{}/{}".format, st.sampled_from(["v", "o", ".."]), NAMES),
    st.builds('json:{{"file":{{"filename":"/v/{}"}}}}'.format, NAMES),
    st.sampled_from(["", ".", "..", "/", "//", "C:\\x\\a", ".\\a", "json:",
                     'json:{"filename":"\\u0000\\u202e"}',
                     "nbd://h/a", "gluster://h/gv/a", "file:", "x" * 300]),
)  # fmt: skip
NUMBERS = st.sampled_from([UNKNOWN, 0, 1, 2, 1 << 20, 1 << 62])
TIMES = st.sampled_from([0.0, NOW - 1000, NOW - 31, NOW - 1, NOW])
FORMATS = st.sampled_from(["raw", "qcow2", "vhdx", "vmdk", "vdi", "luks", ""])
FAULTS = st.lists(
    st.builds(
        Fault,
        code=st.sampled_from(["timed-out", "denied", "io-error", "odd"]),
        text=st.sampled_from(["because.", ""]),
        hides=st.sampled_from(["", "*", "a", "d/", "s/v", "gv"]),
    ),
    max_size=2,
).map(tuple)
PARENTS = st.none() | st.builds(
    Parent, names=st.lists(NAMED, max_size=3).map(tuple), unique_id=st.sampled_from(["", "u1", "u2"])
)
HEADERS = st.builds(
    Header,
    format=FORMATS,
    virtual_bytes=NUMBERS,
    parent=PARENTS,
    unique_id=st.sampled_from(["", "u1", "u2"]),
    data_file=st.just("") | NAMED,
    faults=FAULTS,
)
IMAGES = st.builds(
    Image,
    key=NAMES,
    evidence=st.sampled_from(["header", "partition-table", "name", "used", "none"]),
    header=HEADERS,
    file_bytes=NUMBERS,
    allocated_bytes=NUMBERS,
    inode=st.integers(0, 3),
    modified_ns=st.integers(0, 2),
    changed_ns=st.just(0),
    born_ns=st.sampled_from([UNKNOWN, 1, 2]),
    temporary=st.booleans(),
    faults=FAULTS,
)
SHARINGS = st.builds(
    Sharing,
    key=NAMES,
    shared_with=st.dictionaries(NAMES, st.integers(0, 3), max_size=3),
    shared_bytes=NUMBERS,
    exclusive_bytes=NUMBERS,
)
DISKS = st.builds(
    disk_of,
    path=st.just("") | NAMED.map(lambda name: name if name.startswith("/") else f"/v/{name}"),
    found_in=st.sampled_from(["persistent", "live", "snapshot", "mirror"]),
    kind=st.sampled_from(["", "raw", "qcow2", "vpc"]),
    pool=st.sampled_from(["", "p", "gone"]),
    volume=st.just("") | NAMES,
    protocol=st.sampled_from(["", "gluster", "nbd"]),
    name=st.sampled_from(["", "gv/a", "gv", "/gv/d/b", "other/x"]),
    encryption=st.sampled_from(["", "luks"]),
)
GUESTS = st.one_of(
    st.builds(
        lambda name, state, found: guest(name, *found, state=state),
        st.sampled_from(["g1", "g2"]),
        st.sampled_from(["running", "stopped", "unknown"]),
        st.lists(DISKS, max_size=3),
    ),
    st.builds(
        lambda target: Pool(key="pool:p", name="p", kind="dir", target=target),
        st.sampled_from(["/v", "/v/d", "", "x"]),
    ),
)
MOUNTS = st.builds(
    mount,
    st.sampled_from(["/", "/v", "/g", "/mnt", "/mnt/b"]),
    st.sampled_from(["xfs", "ocfs2", "fuse.glusterfs", "nfs4"]),
    st.sampled_from(["/dev/sdb", "h1:/gv", "h1:/gv/sub", "nas:/x"]),
    root=st.sampled_from(["/", "/d", "/v"]),
)
CLUSTER = st.sampled_from(
    [gluster_volume("uuuuuu"), gluster_volume("uuuddd"), gluster_volume("??????"),
     gluster_volume("u?uuuu", started=False), replicated("udu", 3, 1), replicated("dd", 2)]
)  # fmt: skip
HEALS = st.builds(
    lambda entries, split, files: GlusterHeal(
        key="gv",
        bricks=(BrickHeal(host="h", path="/b", entries=entries, split_brain_entries=split),),
        split_brain_files=files,
    ),
    NUMBERS, NUMBERS, st.sampled_from([(), ("/a",)]),
)  # fmt: skip


def looks(source: str, scope: str, facts: st.SearchStrategy[Any], most: int = 4) -> st.SearchStrategy[Look]:
    return st.builds(
        lambda found, at, good_at, faults: look(source, scope, *found, at=at, good_at=good_at, faults=faults),
        st.lists(facts, max_size=most), TIMES, TIMES, FAULTS,
    )  # fmt: skip


def spaces(number: int) -> st.SearchStrategy[Any]:
    return st.builds(
        lambda **seen: space(VOLUMES[number], **seen),
        exists=st.booleans(), is_mount_point=st.booleans(), mount=st.none() | MOUNTS,
        filesystem_id=st.sampled_from(["", "uuid-1", "uuid-2", "gluster:gv"]), total_bytes=NUMBERS,
        available_bytes=NUMBERS, read_only=st.booleans(), must_be_mount=st.booleans(),
        other_paths=st.sampled_from([(), ("/other",), ("",)]),
        read_fault=st.none() | st.just(Fault("io-error", "EIO")),
    )  # fmt: skip


def views(name: str) -> st.SearchStrategy[HostView]:
    of_volumes = [
        each
        for number, volume in enumerate(VOLUMES)
        for each in (
            looks("space", volume.key, spaces(number), 1),
            looks("images", volume.key, IMAGES),
            looks("extents", volume.key, SHARINGS),
        )
    ]
    of_host = [
        looks("guests", "", GUESTS),
        looks("mounts", "", MOUNTS),
        looks(
            "disks",
            "",
            st.builds(disk, st.sampled_from(["sdb", "sdc"]), st.sampled_from(["", "35000", "36000"])),
        ),
        looks("gluster", "", CLUSTER, 1),
        looks("gluster_heals", "", HEALS, 1),
    ]
    some = st.tuples(*(st.none() | each for each in (*of_volumes, *of_host)))
    return st.builds(
        lambda found, at: host(*(each for each in found if each), name=name, reported_at=at), some, TIMES
    )


REMEMBERED = st.builds(
    Remembered,
    filesystem_id=st.sampled_from([None, "uuid-1", "uuid-2", ""]),
    parents=st.dictionaries(NAMES, NAMES, max_size=3),
    first_seen=st.dictionaries(NAMES, TIMES, max_size=3),
    identities=st.dictionaries(
        NAMES, st.tuples(st.integers(0, 3), st.sampled_from([UNKNOWN, 1, 2])), max_size=3
    ),
)
MEMORIES = st.builds(Memory, volumes=st.dictionaries(st.sampled_from(["s/v", "s/g"]), REMEMBERED))
ALL = st.builds(lambda one, two: {"h1": one, "h2": two}, views("h1"), views("h2"))


def rows(document: ImageStorageInfo) -> Iterable[Any]:
    return (*document.volumes, *document.external_volumes, *document.gluster_volumes)


@settings(deadline=None, max_examples=60)
@given(ALL, MEMORIES)
def test_no_observation_makes_the_merge_raise_and_every_truth_is_whole(
    seen: dict[str, HostView], memory: Memory
) -> None:
    truth = merge(DECLARED, seen, memory, NOW)
    storage = truth.storages["s"]
    assert truth.valid_until > NOW
    assert len(list(rows(storage.document))) == len(VOLUMES)
    for row in rows(storage.document):
        assert (row.status == "ok") == (row.status_msg == "")
        listed = [each.image_id for each in row.images] + [each.clone_id for each in row.clones]
        assert sorted(listed) == sorted(storage.volumes[row.volume_id].images)
        assert row.total_space >= 0
        assert row.free_space >= 0
        assert all(each.size_mb >= 0 for each in row.images)
    for text in _texts(msgspec.to_builtins(storage.document, enc_hook=plain)):
        assert all(character.isprintable() or character == "\u3000" for character in text), text
    for volume in storage.volumes.values():
        for each in volume.images.values():
            detail = msgspec.to_builtins(image_detail(volume, each))
            assert detail["kind"] in {"image", "clone"}
            for name, field_of in AT_HAND.items():
                told = field_of(each)
                assert detail[name] == (list(told) if isinstance(told, tuple) else told)
    scopes(DECLARED, seen, truth)
    msgspec.json.encode(storage.document, enc_hook=plain)


def _texts(node: Any) -> Iterable[str]:
    if isinstance(node, str):
        yield node
    for below in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from _texts(below)


@settings(deadline=None, max_examples=30)
@given(ALL, MEMORIES, st.randoms(use_true_random=False))
def test_the_order_of_hosts_and_facts_is_irrelevant(
    seen: dict[str, HostView], memory: Memory, random: Any
) -> None:
    def shuffled(view: HostView) -> HostView:
        found = {}
        for key in sorted(view.looks, key=lambda _: random.random()):
            facts = list(view.looks[key].seen.facts.items())
            # Mountinfo is the one source whose order means something: later mounts cover earlier ones.
            if key[0] != "mounts":
                random.shuffle(facts)
            found[key] = replace(view.looks[key], seen=replace(view.looks[key].seen, facts=dict(facts)))
        return replace(view, looks=found)

    other = {name: shuffled(view) for name, view in reversed(seen.items())}
    assert merge(DECLARED, other, memory, NOW) == merge(DECLARED, seen, memory, NOW)


TWO = (external("v"), external("n"))
TWO_DECLARED = declared(*TWO)
PLACES = [look("space", volume.key, space(volume)) for volume in TWO]
# What of each look stays as it was, and the very same objects, when another one comes: more often than not.
STAYS = st.sampled_from([True, True, False])
INSIDE = st.builds(
    lambda found: host(*PLACES, *(each for each in found if each)),
    st.tuples(
        looks("images", "s/v", IMAGES, 6), st.none() | looks("images", "s/n", IMAGES, 2),
        st.none() | looks("extents", "s/v", SHARINGS), st.none() | looks("guests", "", GUESTS, 2),
    ),
)  # fmt: skip


# Each change: what is seen then, what of it stays, and what others remember (mostly nothing).
CHANGES = st.lists(
    st.tuples(INSIDE, st.lists(STAYS, min_size=8, max_size=8), st.just(Memory()) | MEMORIES), max_size=3
)


@settings(deadline=None, max_examples=150)
@given(INSIDE, CHANGES, MEMORIES)
def test_a_merge_after_changes_is_the_same_as_one_from_scratch(
    view: HostView, changes: list[tuple[HostView, list[bool], Memory]], memory: Memory
) -> None:
    truth = merge(TWO_DECLARED, {"h1": view}, memory, NOW)
    for step, (fresh, stays, others) in enumerate(changes, start=1):
        mixed = {key: _mixed(view.looks.get(key), each, stays) for key, each in fresh.looks.items()}
        view = replace(fresh, looks={**view.looks, **mixed})
        memory = Memory(volumes={**truth.memory.volumes, **others.volumes})
        scratch = merge(TWO_DECLARED, {"h1": view}, memory, NOW + step)
        truth = merge(TWO_DECLARED, {"h1": view}, memory, NOW + step, previous=truth)
        assert truth == scratch
        assert _indexes(truth) == _indexes(scratch)


def _indexes(truth: Truth) -> list[object]:
    """What the next merge finds its way by, without the orders that mean nothing."""
    basis = truth.storages["s"].basis
    assert isinstance(basis, StorageBasis)
    catalogue = basis.catalogue
    by_id = {unique_id: set(refs) for unique_id, refs in catalogue.by_unique_id.items()}
    shelves = [(shelf.sharers, shelf.counted, shelf.maybe_copies) for shelf in catalogue.shelves.values()]
    return [catalogue.claimed, by_id, catalogue.meant, catalogue.parents, catalogue.by_extents, shelves]


def _mixed(old: Look | None, new: Look, stays: list[bool]) -> Look:
    """The new look, of whose facts some are the old ones still."""
    if old is None:
        return new
    facts = dict(new.seen.facts)
    for (key, fact), stay in zip(old.seen.facts.items(), stays, strict=False):
        if stay:
            facts[key] = fact
    return replace(new, seen=replace(new.seen, facts=facts))


def test_what_another_memory_says_holds_over_the_last_truth() -> None:
    view = host(*PLACES, look("images", "s/v", image("a")))
    first = merge(TWO_DECLARED, {"h1": view}, Memory(), NOW)
    other = Memory(volumes={"s/v": Remembered(filesystem_id="x")})
    scratch = merge(TWO_DECLARED, {"h1": view}, other, NOW)
    assert merge(TWO_DECLARED, {"h1": view}, other, NOW, first) == scratch


def test_what_is_remembered_survives_being_written_and_read() -> None:
    kept = Remembered(filesystem_id="", parents={"a": "b"}, space=(2, 1), since={"x": 1.5})
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(kept), type=Remembered) == kept
