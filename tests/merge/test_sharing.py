"""Reflink clones: who was made from whom."""

from __future__ import annotations

from typing import Any

from storekeeper.merge.clones import LOOP
from storekeeper.merge.truth import Look, Memory, Remembered, Truth
from storekeeper.observation import UNKNOWN, Image
from tests.merge.builders import (
    NOW,
    declared,
    external,
    guest,
    guests,
    host,
    image,
    images,
    merged,
    parents,
    sharing,
    spaced,
    truths,
    truths_of,
)

V = external()


def raw(key: str, born: int = UNKNOWN, **more: Any) -> Image:
    return image(key, "raw", born_ns=born, **more)


def test_the_parent_is_the_member_born_before_it_with_which_it_shares_most_bytes() -> None:
    family = images(V, raw("old", 1), raw("mid", 2), raw("new", 3))
    shares = sharing(V, ("old", "mid", 10), ("old", "new", 5), ("mid", "new", 8))
    assert parents(V, family, shares) == {"mid": "old", "new": "mid"}


def test_of_equals_the_oldest_is_the_parent_and_the_oldest_of_all_is_an_image() -> None:
    family = images(V, raw("old", 1), raw("mid", 2), raw("new", 3))
    shares = sharing(V, ("old", "mid", 5), ("old", "new", 5), ("mid", "new", 5))
    assert parents(V, family, shares) == {"mid": "old", "new": "old"}


def test_a_parent_in_a_header_goes_before_one_by_shared_extents() -> None:
    family = images(
        V,
        image("base", born_ns=1),
        image("a", born_ns=2, parent="base"),
        image("b", born_ns=3, parent="base"),
    )
    found = truths(V, family, sharing(V, ("a", "b", 9)))
    assert {key: (each.parent, each.parent_by) for key, each in found.items() if each.parent} == {
        "a": (("v", "base"), "header"),
        "b": (("v", "base"), "header"),
    }


def test_without_births_the_one_seen_first_is_the_parent() -> None:
    memory = Memory(volumes={"s/v": Remembered(first_seen={"z": NOW - 100})})
    assert parents(V, images(V, raw("a"), raw("z")), sharing(V, ("a", "z", 5)), memory=memory) == {"a": "z"}


def test_without_births_and_seen_at_once_the_older_mtime_then_the_first_name_decides() -> None:
    shares = sharing(V, ("a", "z", 5))
    assert parents(V, images(V, raw("a", modified_ns=2), raw("z", modified_ns=1)), shares) == {"a": "z"}
    assert parents(V, images(V, raw("a"), raw("z")), shares) == {"z": "a"}


def test_equal_births_are_as_none() -> None:
    shares = sharing(V, ("a", "z", 5))
    assert parents(V, images(V, raw("a", 7, modified_ns=2), raw("z", 7, modified_ns=1)), shares) == {"a": "z"}


def test_an_image_without_a_birth_is_younger_than_all_that_have_one_however_they_were_seen() -> None:
    memory = Memory(volumes={"s/v": Remembered(first_seen={"c": NOW - 3, "b": NOW - 2, "a": NOW - 1})})
    shares = sharing(V, ("a", "b", 5), ("b", "c", 5), ("a", "c", 5))
    family = images(V, raw("a", 1), raw("b"), raw("c", 2))
    assert parents(V, family, shares, memory=memory) == {"b": "a", "c": "a"}


def test_once_decided_it_stays_while_they_share_a_byte() -> None:
    memory = Memory(volumes={"s/v": Remembered(parents={"old": "new"})})
    family = images(V, raw("old", 1), raw("new", 2))
    assert parents(V, family, sharing(V, ("old", "new", 1)), memory=memory)["old"] == "new"
    assert parents(V, family, memory=memory) == {}
    alone = merged(declared(V), host(spaced(V), family, sharing(V)), memory=memory)
    assert alone.memory.of("s/v").parents == {}


def test_what_is_decided_is_remembered_until_a_later_look_shows_otherwise() -> None:
    family = images(V, raw("old", 1), raw("new", 2))
    truth = merged(declared(V), host(spaced(V), family, sharing(V, ("old", "new", 1))))
    assert truth.memory.of("s/v").parents == {"new": "old"}
    later = merged(declared(V), host(spaced(V)), memory=truth.memory)
    assert later.memory.of("s/v").parents == {"new": "old"}


def after_each(*looks: tuple[Look, ...]) -> Truth:
    """The truth after these looks, each with what was remembered of those before."""
    truth = merged(declared(V), host(spaced(V)))
    for step, each in enumerate(looks):
        view, now = host(spaced(V), *each), NOW + step
        scratch = merged(declared(V), view, memory=truth.memory, now=now)
        truth = merged(declared(V), view, memory=truth.memory, now=now, previous=truth)
        assert truth == scratch
    return truth


def clones(truth: Truth) -> dict[str, str]:
    assert not any(LOOP in each.faults for each in truths_of(truth).values())
    return {key: each.parent[1] for key, each in truths_of(truth).items() if each.parent}


def test_a_parent_that_was_replaced_by_a_copy_of_its_clone_is_the_clone_of_that() -> None:
    shares = sharing(V, ("p", "k", 5))
    truth = after_each(
        (images(V, raw("p", 1), raw("k", 2)), shares), (images(V, raw("p", 3), raw("k", 2)), shares)
    )
    assert clones(truth) == truth.memory.of("s/v").parents == {"p": "k"}


def test_a_parent_that_was_replaced_where_no_births_are_kept_is_a_new_file_by_its_inode() -> None:
    shares = sharing(V, ("p", "k", 5))
    k = raw("k", inode=2, modified_ns=2)
    truth = after_each((images(V, raw("p", inode=1), k), shares), (images(V, raw("p", inode=3), k), shares))
    assert clones(truth) == {"p": "k"}
    assert truth.memory.of("s/v").first_seen == {"p": NOW + 1, "k": NOW}


def test_a_replaced_clone_is_decided_anew_and_not_by_what_its_name_was() -> None:
    known = sharing(V, ("a", "b", 5), ("a", "k", 5))
    then = sharing(V, ("a", "b", 5), ("a", "k", 3), ("b", "k", 5))
    one, two = raw("a", 1), raw("b", 2)
    assert clones(after_each((images(V, one, two, raw("k", 3)), known))) == {"b": "a", "k": "a"}
    stays = (images(V, one, two, raw("k", 3)), then)
    assert clones(after_each((images(V, one, two, raw("k", 3)), known), stays)) == {"b": "a", "k": "a"}
    replaced = (images(V, one, two, raw("k", 4)), then)
    assert clones(after_each((images(V, one, two, raw("k", 3)), known), replaced)) == {"b": "a", "k": "b"}


def test_a_birth_that_becomes_known_makes_no_other_file() -> None:
    shares = sharing(V, ("a", "z", 5))
    truth = after_each(
        (images(V, raw("z", modified_ns=1), raw("a", modified_ns=2)), shares),
        (images(V, raw("z", 2, modified_ns=1), raw("a", 1, modified_ns=2)), shares),
    )
    assert clones(truth) == {"a": "z"}
    assert truth.memory.of("s/v").identities == {"a": (0, 1), "z": (0, 2)}


def test_an_image_is_no_clone_of_its_clone_though_its_mtime_is_the_later_one_now() -> None:
    shares = sharing(V, ("p", "k", 5))
    k = raw("k", modified_ns=2)
    truth = after_each((images(V, raw("p"), k), shares), (images(V, raw("p", modified_ns=3), k), shares))
    assert clones(truth) == {"k": "p"}


def test_what_was_barred_from_a_parent_has_it_once_that_is_its_clone_no_more() -> None:
    chain = sharing(V, ("p", "a", 5), ("a", "k", 9), ("p", "k", 1))
    a, k = raw("a", modified_ns=2), raw("k", modified_ns=3)
    first = images(V, raw("p"), a, k)
    then = images(V, raw("p", modified_ns=9), a, k)
    assert clones(after_each((first, chain), (then, chain))) == {"a": "p", "k": "a"}
    cut = sharing(V, ("p", "a", 5), ("p", "k", 1))
    assert clones(after_each((first, chain), (then, chain), (then, cut))) == {"a": "p", "p": "k"}


def test_decided_parents_that_form_a_loop_are_all_decided_anew() -> None:
    memory = Memory(volumes={"s/v": Remembered(parents={"k": "p", "p": "k"})})
    family = images(V, raw("p", 3), raw("k", 2))
    truth = merged(declared(V), host(spaced(V), family, sharing(V, ("p", "k", 5))), memory=memory)
    assert clones(truth) == {"p": "k"}


def test_no_shared_byte_is_no_family() -> None:
    assert parents(V, images(V, raw("a", 1), raw("b", 2)), sharing(V, ("a", "b", 0))) == {}


def test_an_image_rebased_onto_its_own_copy_is_not_that_ones_parent_as_well() -> None:
    family = images(V, image("old", born_ns=1, parent="new"), image("new", born_ns=2))
    assert parents(V, family, sharing(V, ("old", "new", 5))) == {"old": "new"}


def test_a_file_without_evidence_is_an_image_only_as_a_copy_of_a_raw_one() -> None:
    bare = [
        image(key, "raw", evidence="none", born_ns=born)
        for key, born in (("copy", 2), ("copy2", 3), ("other", 4))
    ]
    shares = sharing(V, ("a.img", "copy", 5), ("copy", "copy2", 5), ("q", "other", 5))
    found = images(V, raw("a.img", 1), image("q", born_ns=1), *bare)
    assert parents(V, found, shares) == {"copy": "a.img", "copy2": "copy"}
    assert set(truths(V, found, shares)) == {"a.img", "q", "copy", "copy2"}


def test_a_copy_of_a_guests_bare_disk_is_an_image_too() -> None:
    disk, copy = (
        image(key, "raw", evidence="none", born_ns=born) for key, born in (("disk", 1), ("copy", 2))
    )
    shares = sharing(V, ("disk", "copy", 5))
    assert truths(V, images(V, disk, copy), shares) == {}
    assert parents(V, images(V, disk, copy), shares, guests(guest("g", "/v/disk"))) == {"copy": "disk"}
