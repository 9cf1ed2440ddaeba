"""Everything that a store can be asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from storekeeper.credentials import Credential
from storekeeper.database import Store
from storekeeper.database.steps import HostWrite, MemoryWrite
from storekeeper.declaration import Declared, Host

CREDENTIAL = Credential(credential_id="c1", kind="person", secret_hash=b"x", created_at=1.0)


def every_ask(
    store: Store, write: HostWrite, memory: Mapping[str, MemoryWrite]
) -> tuple[Callable[[], object], ...]:
    """Each method of it, called; those that write would change something."""
    return (
        lambda: store.put([write], memory),
        lambda: store.since({"h1": 0}),
        lambda: store.host("h1"),
        lambda: store.other_memory({"s/v": 0}),
        store.stored,
        store.credentials,
        store.declared,
        lambda: store.put_credential(CREDENTIAL, 1.0),
        lambda: store.delete_credential("c1"),
        lambda: store.declare(lambda _: Declared(hosts={"h9": Host(host_id="h9")})),
    )
