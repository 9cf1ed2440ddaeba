"""A feed remembers the last changes, no more than it may, and tells everyone who follows."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from storekeeper.document import ImageStorageInfo
from storekeeper.document_changes import DocumentChange
from storekeeper.manager import events as feeds
from storekeeper.manager.events import Change, Events, Feed, Step, Turns, event, steps
from storekeeper.manager.published import Published, publish
from storekeeper.merge.truth import Memory, StorageTruth, Truth


def fed(*etags: str, size: int = 1) -> Feed:
    feed = Feed("e0", Turns())
    for etag in etags:
        feed.add(Change(etag, b"x" * size))
    return feed


def since(feed: Feed, etag: str) -> list[str] | None:
    place = feed.place_of(etag)
    news = feed.since(place) if place is not None else None
    return [change.etag for change in news.changes] if news is not None else None


def test_it_goes_on_from_every_document_that_it_knows() -> None:
    feed = fed("e1", "e2")
    assert [since(feed, etag) for etag in ("e0", "e1", "e2", "e3")] == [["e1", "e2"], ["e2"], [], None]


def test_a_document_that_came_back_is_where_it_was_last() -> None:
    assert since(fed("e1", "e0", "e2"), "e0") == ["e2"]


def test_of_many_changes_the_last_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "KEPT_CHANGES", 2)
    feed = fed("e1", "e2", "e3")
    assert [since(feed, etag) for etag in ("e0", "e1", "e2")] == [None, ["e2", "e3"], ["e3"]]


def test_of_large_changes_the_last_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "KEPT_BYTES", 25)
    feed = fed("e1", "e2", "e3", size=10)
    assert [since(feed, etag) for etag in ("e0", "e1")] == [None, ["e2", "e3"]]
    feed.add(Change("e4", b"x" * 26))
    assert [since(feed, etag) for etag in ("e3", "e4")] == [None, []]


def test_of_many_feeds_each_keeps_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "ALL_KEPT_BYTES", 50)
    events = Events()
    events.add({"s": Step("e0", None), "t": Step("e0", None)})
    for etag in ("e1", "e2", "e3"):
        events.add({name: Step(etag, Change(etag, b"x" * 10)) for name in "st"})
    feed = events.feed("s")
    assert feed is not None
    assert [since(feed, etag) for etag in ("e0", "e1")] == [None, ["e2", "e3"]]


def test_a_place_that_left_the_ring_is_known_to_be_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "KEPT_CHANGES", 1)
    feed = fed()
    place = feed.end
    feed.add(Change("e1", b"x"))
    assert feed.since(place) is not None
    feed.add(Change("e2", b"x"))
    assert feed.since(place) is None


def test_much_news_comes_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "NEWS_BYTES", 25)
    feed = fed("e1", "e2", "e3", size=10)
    first = feed.since(0)
    assert first is not None
    assert [change.etag for change in first.changes] == ["e1", "e2"]
    rest = feed.since(first.place)
    assert rest is not None
    assert ([change.etag for change in rest.changes], rest.place) == (["e3"], feed.end)


def test_each_of_many_followers_is_woken() -> None:
    async def scenario() -> None:
        feed = fed()
        followers = [asyncio.Event() for _ in range(3 * feeds.TURNS_AT_ONCE + 1)]
        for follower in followers:
            feed.wake(follower)
        feed.leave(followers[0])
        feed.add(Change("e1", b"x"))
        await asyncio.gather(*(follower.wait() for follower in followers[1:]))
        assert not followers[0].is_set()

    asyncio.run(asyncio.wait_for(scenario(), 10))


def test_of_all_who_want_to_send_a_few_do_in_each_turn_of_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "TURNS_AT_ONCE", 2)

    async def scenario() -> None:
        turns = Turns()
        one, other = Feed("e0", turns), Feed("e0", turns)
        followers = [asyncio.Event() for _ in range(6)]
        for number, follower in enumerate(followers):
            (one if number % 2 else other).wake(follower)
        # Changes that come before all have had their turn give none of them a second one.
        for etag in ("e1", "e2"):
            one.add(Change(etag, b"x"))
            other.add(Change(etag, b"x"))
        for woken in (0, 2, 4, 6, 6):
            assert sum(follower.is_set() for follower in followers) == woken
            await asyncio.sleep(0)

    asyncio.run(asyncio.wait_for(scenario(), 10))


def test_a_storage_that_is_gone_and_comes_back_has_another_feed() -> None:
    events = Events()
    events.add({"s": Step("e1", None)})
    former = events.feed("s")
    assert former is not None
    events.add({})
    assert (former.gone, events.feed("s")) == (True, None)
    events.add({"s": Step("e1", None)})
    assert events.feed("s") is not former


def moment(*hosts: str) -> tuple[Truth, dict[str, Published]]:
    document = ImageStorageInfo(
        hosts=list(hosts), volumes=[], external_volumes=[], gluster_volumes=[], disks=[]
    )
    storage = StorageTruth(document=document, volumes={}, disks=[])
    truth = Truth(storages={"s": storage}, memory=Memory(), valid_until=0.0)
    return truth, {"s": publish(msgspec.json.encode(document))}


def test_only_a_document_that_changed_is_a_change() -> None:
    former, truth = moment("h1"), moment("h1", "h2")
    etag = truth[1]["s"].etag
    data = msgspec.json.encode(DocumentChange(hosts=["h1", "h2"]))
    assert steps(former[0], truth[0], former[1], truth[1]) == {
        "s": Step(etag, Change(etag, event("change", etag, data)))
    }
    assert steps(truth[0], truth[0], truth[1], truth[1]) == {"s": Step(etag, None)}


def test_a_document_that_was_not_there_is_no_change() -> None:
    truth = moment("h1")
    nothing = Truth(storages={}, memory=Memory(), valid_until=0.0)
    assert steps(nothing, truth[0], {}, truth[1]) == {"s": Step(truth[1]["s"].etag, None)}
