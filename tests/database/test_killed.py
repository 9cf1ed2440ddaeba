"""A manager that is killed at any moment leaves a database that opens whole."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from storekeeper.database import Store, open_store
from storekeeper.observation import Pool

# Writes pairs that belong together, and says what was promised: a number is printed after its commit.
_WRITER = """
import sys
from storekeeper.database import open_store
from storekeeper.declaration import Declared, Host
from storekeeper.merge.truth import HostView, Remembered
from storekeeper.report import changes
from tests.database.looks import next_memory, next_of, pool, seen, told

store = open_store(sys.argv[1])
view, number = HostView(host_id="h1"), int(sys.argv[2])
while True:
    look = seen(*(pool(str(name), str(number)) for name in range(300)))
    view, applied = told(view, changes(None, look), float(number))
    memory = next_memory("s/v", store, Remembered(filesystem_id=str(number)))
    store.put([next_of("h1", store, applied, number=number)], memory)
    host = Host(host_id=f"h{number}")
    store.declare(lambda before: Declared(hosts={**before.hosts, host.host_id: host}))
    print(number, flush=True)
    number += 1
"""
KILLS = 6
ROOT = Path(__file__).parents[2]


def check(store: Store, promised: set[int]) -> int:
    """Checks that what was written together is there together, and all that was promised; the next number."""
    stored, declared = store.stored(), store.declared()
    told = store.since({"h1": 0})["h1"]
    store.close()
    (look,) = stored.views["h1"].looks.values()
    (written,) = {fact.target for fact in look.seen.facts.values() if isinstance(fact, Pool)}
    assert len(look.seen.facts) == 300
    assert stored.memory["s/v"].value.filesystem_id == written
    assert stored.marks["h1"].number == int(written)
    assert told[-1].mark == stored.marks["h1"]
    assert int(written) >= max(promised)
    assert {f"h{number}" for number in promised} <= declared.hosts.keys()
    return int(written) + 1


def test_a_kill_at_any_moment_loses_nothing_that_was_promised(url: str) -> None:
    chance = random.Random(0)
    promised: set[int] = set()
    following = 1
    for _ in range(KILLS):
        argv = [sys.executable, "-c", _WRITER, url, str(following)]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd=ROOT) as writer:
            assert writer.stdout is not None
            said = [writer.stdout.readline() for _ in range(chance.randrange(1, 5))]
            # Anywhere within the next rounds.
            with pytest.raises(subprocess.TimeoutExpired):
                writer.wait(chance.uniform(0, 0.03))
            writer.send_signal(signal.SIGKILL)
            said += writer.stdout.readlines()
        promised |= {int(number) for number in said}
        following = check(open_store(url), promised)
