"""What one manager remembers of a volume is taken over by another; whoever came first told what it is."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from storekeeper.merge import merge
from storekeeper.merge.remembering import adopted
from storekeeper.merge.truth import HostView, Memory, Remembered, Truth
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
    views_of,
)

V, W, X = external("v"), external("w"), external("x")

# Few, so that they meet.
NAMES = st.sampled_from(["a", "b", "c", "d"])
TIMES = st.sampled_from([NOW - 9, NOW - 5, NOW])
TROUBLES = st.sampled_from(["read-only h1", "read-only h2", "bricks-lost"])


@st.composite
def remembered(draw: st.DrawFn) -> Remembered:
    filesystem_id = draw(st.sampled_from([None, "", "uuid-1", "uuid-2"]))
    return Remembered(
        filesystem_id=filesystem_id,
        is_mount_point=filesystem_id is not None and draw(st.booleans()),
        parents=draw(st.dictionaries(NAMES, NAMES, max_size=3)),
        first_seen=draw(st.dictionaries(NAMES, TIMES, max_size=3)),
        identities=draw(st.dictionaries(NAMES, st.tuples(st.integers(0, 1), st.integers(-1, 1)), max_size=3)),
        space=draw(st.sampled_from([None, (9, 1), (9, 2)])),
        since=draw(st.dictionaries(TROUBLES, TIMES, max_size=2)),
    )


REMEMBERED = remembered()
MINE = st.none() | REMEMBERED


def look_of(kept: Remembered) -> tuple[str | None, bool]:
    return kept.filesystem_id, kept.is_mount_point


@given(MINE, REMEMBERED)
def test_to_adopt_twice_is_to_adopt_once_and_leaves_the_very_object(
    mine: Remembered | None, theirs: Remembered
) -> None:
    once = adopted(mine, theirs)
    assert adopted(once, theirs) is once
    assert adopted(theirs, theirs) is theirs


@given(MINE, REMEMBERED)
def test_parents_are_theirs_with_their_ages_and_else_what_is_adopted_forgets_nothing(
    mine: Remembered | None, theirs: Remembered
) -> None:
    now = adopted(mine, theirs)
    assert now.parents == theirs.parents
    assert now.first_seen == {**(mine or theirs).first_seen, **theirs.first_seen}
    for one in (theirs, mine or theirs):
        assert all(now.since[key] <= at for key, at in one.since.items())
        assert one.space is None or now.space is not None


@given(MINE, REMEMBERED)
def test_the_first_look_is_that_of_whoever_came_first(mine: Remembered | None, theirs: Remembered) -> None:
    now = adopted(mine, theirs)
    if theirs.filesystem_id:
        assert look_of(now) == look_of(theirs)
    elif theirs.filesystem_id is not None:
        # An identity that the first look could not tell is taken from where it could be told.
        assert (now.filesystem_id, now.is_mount_point) == (
            (mine.filesystem_id if mine else None) or "",
            theirs.is_mount_point,
        )
    elif mine is not None:
        assert look_of(now) == look_of(mine)


VIEWS = st.builds(
    lambda identity, mounted, read_only, keys, pairs: host(
        images(V, *(image(key, "raw") for key in keys)),
        sharing(V, *((one, other, 5) for one, other in pairs if one != other)),
        spaced(V, filesystem_id=identity, is_mount_point=mounted, read_only=read_only),
    ),
    st.sampled_from(["", "uuid-1", "uuid-2"]),
    st.booleans(),
    st.booleans(),
    st.lists(NAMES, unique=True),
    st.lists(st.tuples(NAMES, NAMES), max_size=3),
)
SIZED = REMEMBERED.map(lambda kept: replace(kept, space=kept.space or (9, 1)))


def after(kept: Remembered, view: HostView, previous: Truth | None = None) -> Truth:
    return merged(declared(V), view, memory=Memory(volumes={V.key: kept}), previous=previous)


@settings(deadline=None)
@given(SIZED, SIZED, VIEWS)
def test_two_managers_that_adopt_from_each_other_and_merge_come_to_the_same_truth(
    mine: Remembered, theirs: Remembered, view: HostView
) -> None:
    # Theirs is in the database. We are refused, adopt it and write; they hear of it and do likewise.
    ours = after(adopted(mine, theirs), view)
    others = after(adopted(theirs, ours.memory.of(V.key)), view)
    assert look_of(others.memory.of(V.key)) == look_of(ours.memory.of(V.key))
    assert ours.storages["s"].document.external_volumes[0].status_msg == (
        others.storages["s"].document.external_volumes[0].status_msg
    )
    # Whatever differed would be written again and again.
    assert others.memory.of(V.key) == ours.memory.of(V.key)
    again = adopted(ours.memory.of(V.key), others.memory.of(V.key))
    assert again is ours.memory.of(V.key)


@settings(deadline=None)
@given(MINE, REMEMBERED.filter(lambda kept: bool(kept.filesystem_id)), st.lists(VIEWS, max_size=3))
def test_a_first_look_that_was_adopted_is_never_changed_by_a_merge(
    mine: Remembered | None, theirs: Remembered, views: list[HostView]
) -> None:
    kept = adopted(mine, theirs)
    truth = None
    for view in views:
        truth = after(kept, view, truth)
        kept = truth.memory.of(V.key)
    assert look_of(kept) == look_of(theirs)


def test_what_others_remember_of_one_volume_does_its_storage_again_and_no_other() -> None:
    one, two = declared(V, W), declared(X, storage="t")
    both = replace(one, image_storages={**one.image_storages, **two.image_storages})
    other = two.image_storages["t"].volumes[0]
    views = views_of(host(spaced(V), spaced(W), spaced(other), images(V), images(W), images(other)))
    first = merge(both, views, Memory(), NOW)
    same = merge(both, views, Memory(volumes=dict(first.memory.volumes)), NOW + 1, first)
    assert all(same.storages[key] is first.storages[key] for key in ("s", "t"))

    theirs = replace(first.memory.of(W.key), filesystem_id="uuid-2")
    memory = Memory(volumes={**first.memory.volumes, W.key: theirs})
    then = merge(both, views, memory, NOW + 1, first)
    assert then.storages["t"] is first.storages["t"]
    rows = then.storages["s"].document.external_volumes
    assert [row.status for row in rows] == ["ok", "broken"]
    assert then.memory.of(V.key) is memory.of(V.key)


def test_parents_that_others_decided_otherwise_hold_and_no_other_image_is_resolved_again() -> None:
    family = [image(key, "raw", born_ns=born) for born, key in enumerate(("a", "b", "c"), start=1)]
    shares = sharing(V, ("a", "b", 5), ("a", "c", 5), ("b", "c", 5))
    view = host(spaced(V), images(V, *family, image("x")), shares)
    first = merged(declared(V), view)
    assert first.memory.of(V.key).parents == {"b": "a", "c": "a"}

    kept = adopted(first.memory.of(V.key), Remembered(parents={"c": "b"}))
    then = merged(declared(V), view, memory=Memory(volumes={V.key: kept}), previous=first)
    assert then.memory.of(V.key).parents == {"b": "a", "c": "b"}
    assert truths_of(then)["c"].parent == ("v", "b")
    assert truths_of(then)["x"] is truths_of(first)["x"]


def test_whether_a_file_was_replaced_since_others_saw_it_is_told_by_what_they_saw() -> None:
    shares = sharing(V, ("p", "k", 5))
    new = host(spaced(V), images(V, image("p", "raw", born_ns=3), image("k", "raw", born_ns=2)), shares)
    first = merged(declared(V), new)
    assert first.memory.of(V.key).parents == {"p": "k"}

    theirs = Remembered(parents={"k": "p"}, identities={"p": (0, 1), "k": (0, 2)})
    for others, found in ((theirs, {"p": "k"}), (replace(theirs, identities={}), {"k": "p"})):
        memory = Memory(volumes={V.key: adopted(first.memory.of(V.key), others)})
        then = merged(declared(V), new, memory=memory, previous=first)
        assert then.memory.of(V.key).parents == found


def test_images_that_others_saw_in_another_order_and_have_not_decided_yet_are_decided_again() -> None:
    alike = [image(key, "raw") for key in ("a", "b")]
    view = host(spaced(V), images(V, *alike), sharing(V, ("a", "b", 5)))
    first = merged(declared(V), view)
    assert first.memory.of(V.key).parents == {"b": "a"}

    kept = adopted(first.memory.of(V.key), Remembered(first_seen={"b": NOW - 9, "a": NOW - 5}))
    then = merged(declared(V), view, memory=Memory(volumes={V.key: kept}), previous=first)
    assert then.memory.of(V.key).parents == {"a": "b"}
