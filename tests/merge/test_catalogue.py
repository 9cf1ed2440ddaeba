"""A change reaches everything that depends on it, and nothing has to be resolved from scratch for that."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from storekeeper.merge.truth import ImageTruth, Look
from storekeeper.observation import Parent, Pool
from tests.merge.builders import (
    NOW,
    declared,
    external,
    guest,
    guests,
    host,
    image,
    images,
    look,
    merged,
    mount,
    sharing,
    spaced,
    truths_of,
)

V = external()


def after(before: tuple[Look, ...], now: tuple[Look, ...]) -> Mapping[str, ImageTruth]:
    """The images after a second merge that builds upon a first one; the same as from scratch."""
    first = merged(declared(V), host(spaced(V), *before))
    view = host(spaced(V), *now)
    second = merged(declared(V), view, memory=first.memory, previous=first, now=NOW + 1)
    assert second == merged(declared(V), view, memory=first.memory, now=NOW + 1)
    return second.storages["s"].volumes["v"].images


def test_a_guest_that_comes_owns_the_hard_links_of_its_disk() -> None:
    links = images(V, image("a", inode=7), image("b", inode=7))
    assert after((links,), (links, guests(guest("g", "/v/a"))))["b"].guests == ("g",)


NAS = external(source="nas:/x")


@pytest.mark.parametrize(
    "shows",
    [
        spaced(NAS, other_paths=("/other",)),
        look("mounts", "", mount("/other", "nfs4", "nas:/x")),
        guests(
            Pool(key="pool:p", name="p", kind="netfs", target="/other", source="nas:/x"),
            guest("g", "/other/a"),
        ),
    ],
    ids=["space", "mounts", "guests"],
)
def test_a_place_where_a_volume_is_seen_from_now_on_tells_whose_its_images_are(shows: Look) -> None:
    # All else is the very same as before.
    looks = [spaced(NAS), images(NAS, image("a")), guests(guest("g", "/other/a")), look("mounts", "")]
    first = merged(declared(NAS), host(*looks))
    assert truths_of(first)["a"].guests == ()
    second = merged(declared(NAS), host(*looks, shows), memory=first.memory, previous=first)
    assert truths_of(second)["a"].guests == ("g",)


def test_a_hard_link_that_goes_takes_its_guest_along() -> None:
    links = images(V, image("a", inode=7), image("b", inode=7))
    using = guests(guest("g", "/v/a"))
    assert after((links, using), (images(V, image("b", inode=7)), using))["b"].guests == ()


def test_a_file_that_becomes_a_hard_link_is_owned_by_its_guest() -> None:
    using = guests(guest("g", "/v/a"))
    one, other = image("a", inode=7), image("b", inode=8)
    linked_b = images(V, one, image("b", inode=7))
    linked_a = images(V, image("a", inode=8), other)
    assert after((images(V, one, other), using), (linked_b, using))["b"].guests == ("g",)
    assert after((images(V, one, other), using), (linked_a, using))["b"].guests == ("g",)


def test_a_parent_that_goes_leaves_its_clones_to_what_their_headers_say() -> None:
    clone = image("c", parent="base")
    assert after((images(V, image("base"), clone),), (images(V, clone),))["c"].parent == ("", "base")
    assert after((images(V, clone),), (images(V, image("base"), clone),))["c"].parent == ("v", "base")


def test_a_parent_known_by_its_unique_id_comes_and_goes() -> None:
    parent = image("p", "vdi", unique_id="u")
    clone = image("c", "vdi", parent=Parent(unique_id="u"))
    assert after((images(V, clone),), (images(V, parent, clone),))["c"].parent == ("v", "p")
    assert after((images(V, parent, clone),), (images(V, clone),))["c"].parent == ("", "u")


def test_a_reflink_parent_that_goes_leaves_an_image() -> None:
    old, new = image("old", "raw", born_ns=1), image("new", "raw", born_ns=2)
    shares = sharing(V, ("old", "new", 5))
    assert after((images(V, old, new), shares), (images(V, new), shares))["new"].parent is None
    assert after((images(V, new), shares), (images(V, old, new), shares))["new"].parent == ("v", "old")


def test_a_copy_is_no_image_once_the_raw_image_is_gone() -> None:
    raw, copy = image("a.img", "raw", born_ns=1), image("copy", "raw", evidence="none", born_ns=2)
    shares = sharing(V, ("a.img", "copy", 5))
    assert after((images(V, raw, copy), shares), (images(V, copy), shares)) == {}
    assert set(after((images(V, copy), shares), (images(V, raw, copy), shares))) == {"a.img", "copy"}
    older = image("copy", "raw", evidence="none", born_ns=0)
    assert after((images(V, raw, older), shares), (images(V, older), shares)) == {}


def test_a_descriptor_that_goes_frees_its_data_file() -> None:
    data, descriptor = image("d.raw", "raw"), image("q", data_file="d.raw")
    assert set(after((images(V, data, descriptor),), (images(V, data),))) == {"d.raw"}
    assert set(after((images(V, data),), (images(V, data, descriptor),))) == {"q"}


def test_what_is_remembered_of_an_image_goes_with_it() -> None:
    old, new = image("old", "raw"), image("new", "raw")
    view = host(spaced(V), images(V, old, new), sharing(V, ("old", "new", 5)))
    first = merged(declared(V), view)
    remembered = first.memory.of("s/v")
    assert (remembered.parents, remembered.first_seen) == ({"old": "new"}, {"new": NOW, "old": NOW})
    gone = host(spaced(V), images(V, image("other")), sharing(V))
    later = merged(declared(V), gone, memory=first.memory, now=NOW + 1)
    remembered = later.memory.of("s/v")
    assert (remembered.parents, remembered.first_seen) == ({}, {})


def test_a_volume_that_did_not_change_keeps_its_very_lists() -> None:
    other = external("w")
    still = images(other, image("x"))
    first = merged(declared(V, other), host(spaced(V), spaced(other), images(V, image("a")), still))
    view = host(spaced(V), spaced(other), images(V, image("b")), still)
    second = merged(declared(V, other), view, memory=first.memory, previous=first, now=NOW + 1)
    rows = [truth.storages["s"].document.external_volumes[1] for truth in (first, second)]
    assert rows[0].images is rows[1].images
