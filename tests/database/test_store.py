"""What was promised: credentials, and what is declared."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from msgspec.structs import replace

from storekeeper.credentials import Credential
from storekeeper.database import Store
from storekeeper.declaration import Declared, Host, ImageStorage, Volume
from storekeeper.errors import Conflict

Opened = Callable[[], Store]

DAY_S = 86_400.0
VOLUME = Volume(volume_id="v", image_storage_id="s", kind="external", mount_point="/x")
STORAGE = ImageStorage(image_storage_id="s", hosts=("h1",), volumes=(VOLUME,))
CREDENTIAL = Credential(
    credential_id="c1", kind="agent", secret_hash=b"\x00\xff", created_at=1.5, expires_at=2.5,
    name="Ünï", role="administrator", host_id="h1", machine_id="m",
)  # fmt: skip


def test_a_fresh_store_knows_of_nothing(opened: Opened) -> None:
    store = opened()
    assert store.credentials() == []
    assert store.declared() == Declared()


def test_credentials_come_back_as_they_were_the_oldest_first(opened: Opened) -> None:
    older = replace(CREDENTIAL, credential_id="c2", created_at=1.0)
    store = opened()
    store.put_credential(CREDENTIAL, 1.0)
    store.put_credential(older, 1.0)
    assert opened().credentials() == [older, CREDENTIAL]


def test_a_credential_of_the_same_id_replaces_the_former(opened: Opened) -> None:
    store = opened()
    store.put_credential(CREDENTIAL, 1.0)
    later = replace(CREDENTIAL, expires_at=99.0)
    store.put_credential(later, 1.0)
    assert store.credentials() == [later]


def test_who_writes_a_credential_forgets_those_that_expired_over_a_day_ago(opened: Opened) -> None:
    store = opened()
    later = replace(CREDENTIAL, credential_id="later", expires_at=3.0)
    lasting = replace(CREDENTIAL, credential_id="lasting", expires_at=0.0)
    for each in (CREDENTIAL, later, lasting):
        store.put_credential(each, 1.0)
    new = replace(CREDENTIAL, credential_id="new", created_at=DAY_S, expires_at=0.0)
    store.put_credential(new, 2.75 + DAY_S)
    assert {each.credential_id for each in store.credentials()} == {"later", "lasting", "new"}


def test_of_many_who_use_up_a_credential_at_once_one_is_told_that_it_was_there(opened: Opened) -> None:
    stores = [opened(), opened()]
    stores[0].put_credential(CREDENTIAL, 1.0)
    with ThreadPoolExecutor(8) as threads:
        told_so = list(threads.map(lambda n: stores[n % 2].delete_credential("c1"), range(16)))
    assert sum(told_so) == 1
    assert stores[1].credentials() == []


def test_what_is_declared_comes_back_as_it_was(opened: Opened) -> None:
    declared = Declared(image_storages={"s": STORAGE}, hosts={"h9": Host(host_id="h9", description="Ü")})
    assert opened().declare(lambda _: declared) == declared
    assert opened().declared() == declared


def test_what_is_declared_is_replaced_by_what_the_change_makes_of_it(opened: Opened) -> None:
    store = opened()
    other = replace(STORAGE, image_storage_id="t")
    store.declare(lambda _: Declared(image_storages={"s": STORAGE, "t": other}))
    wider = replace(STORAGE, hosts=("h1", "h2"))
    after = store.declare(lambda before: replace(before, image_storages={"s": wider}))
    assert store.declared() == after == Declared(image_storages={"s": wider})


def test_a_change_that_is_refused_leaves_everything_as_it_was(opened: Opened) -> None:
    store = opened()
    before = store.declare(lambda _: Declared(image_storages={"s": STORAGE}))

    def refuse(_: Declared) -> Declared:
        raise Conflict("taken")

    with pytest.raises(Conflict, match="taken"):
        store.declare(refuse)
    assert store.declared() == before


def test_declarations_of_several_managers_follow_one_another_and_none_is_lost(opened: Opened) -> None:
    stores = [opened(), opened()]

    def add(number: int) -> None:
        host = Host(host_id=f"h{number}")
        stores[number % 2].declare(lambda before: Declared(hosts={**before.hosts, host.host_id: host}))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(add, range(24)))
    assert len(stores[0].declared().hosts) == 24
