"""Managers on one database: what one is told, the others take up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from sqlalchemy import create_engine

from storekeeper.database import Store, open_store
from storekeeper.database.listening import Told
from storekeeper.declaration import Declared, Host
from storekeeper.errors import NotAuthenticated, StoreError
from storekeeper.manager import following
from storekeeper.manager.manager import Manager
from tests.database.postgresql_server import postgresql_server
from tests.manager.agents import credential, report
from tests.merge.builders import declared, external


def manager(url: str) -> Manager:
    return Manager(declared(external("v")), open_store(url), lambda *_: None, lambda: True)


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not happened():
            await asyncio.sleep(0.01)


@pytest.mark.needs("postgresql")
def test_what_one_manager_is_told_the_other_takes_up() -> None:
    async def scenario(url: str) -> None:
        one, other = manager(url), manager(url)
        running = asyncio.create_task(other.run())
        await one.declare(lambda _: Declared(hosts={"h9": Host(host_id="h9")}))
        await until(lambda: "h9" in other.host_ids())
        credential, token = await asyncio.to_thread(one.access.make, "person", name="somebody")
        await until(lambda: credential in other.access.credentials())
        assert other.access.principal(token).credential == credential
        await asyncio.to_thread(one.access.revoke, credential.credential_id)
        await until(lambda: credential not in other.access.credentials())
        with pytest.raises(NotAuthenticated):
            other.access.principal(token)
        running.cancel()
        await asyncio.wait([running])
        for each in (one, other):
            await each.close()

    with postgresql_server() as server:
        asyncio.run(scenario(server.fresh()))


class OneThatTells(Store):
    """A store that tells once of one host, and is heard well."""

    def changes(self, told: Told) -> None:
        told("hosts", ("h1",))


def test_what_could_not_be_read_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "AGAIN_AFTER_S", 0.0)
    store = OneThatTells(create_engine("sqlite://"))
    asked: list[tuple[str, ...]] = []

    async def heed(host_ids: tuple[str, ...]) -> None:
        asked.append(host_ids)
        if len(asked) < 3:
            raise StoreError("away")

    async def scenario() -> None:
        task = asyncio.create_task(following.follow(store, {"hosts": heed}))
        await until(lambda: len(asked) == 3)
        task.cancel()
        await asyncio.wait([task])

    asyncio.run(scenario())
    assert asked == [("h1",)] * 3


@pytest.mark.needs("postgresql")
def test_a_host_that_was_declared_elsewhere_is_known_with_all_that_it_told_there() -> None:
    async def scenario(url: str) -> None:
        one, other = manager(url), manager(url)
        await one.declare(lambda _: Declared(hosts={"h9": Host(host_id="h9")}))
        one.receive(report(host_id="h9"), credential("h9", "machine-of-h9"))
        await one.write_behind()
        heeds = other._heeds()
        await heeds["hosts"](())
        await heeds["declared"](())
        assert other.host_reports()["h9"] == one.host_reports()["h9"]
        for each in (one, other):
            await each.close()

    with postgresql_server() as server:
        asyncio.run(scenario(server.fresh()))
