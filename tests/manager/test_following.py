"""Managers on one database: what one is told, the others take up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from storekeeper.database import open_store
from storekeeper.declaration import Declared, Host
from storekeeper.errors import NotAuthenticated
from storekeeper.manager.manager import Manager
from tests.database.postgresql_server import postgresql_server
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
