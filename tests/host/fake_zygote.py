"""A zygote whose workers have sources for tests. Its last argument is the socket's descriptor."""

from __future__ import annotations

import os
import signal
import time

from storekeeper.host import zygote
from storekeeper.observation import Pool, Seen
from storekeeper.sources.contract import Host, Scope, Source, facts_by_key


def pool(key: str, target: str = "") -> Pool:
    """Any fact will do."""
    return Pool(key=key, name=key, kind="dir", target=target)


def seen(scope: Scope, *facts: Pool) -> Seen:
    return Seen(source="fake", scope=scope.key, facts=facts_by_key(facts))


def names(host: Host, scope: Scope, last: Seen | None) -> Seen:
    """A fact for each name in the scope's root."""
    return seen(scope, *(pool(name) for name in host.names(scope.root)))


def process(host: Host, scope: Scope, last: Seen | None) -> Seen:
    """The worker's pid."""
    return seen(scope, pool(str(os.getpid())))


def space(host: Host, scope: Scope, last: Seen | None) -> Seen:
    """Asks the filesystem itself, as statvfs does."""
    return seen(scope, pool(host.space(scope.root).device_number))


def stuck(host: Host, scope: Scope, last: Seen | None) -> Seen:
    time.sleep(3600)
    return seen(scope)


def tool(host: Host, scope: Scope, last: Seen | None) -> Seen:
    """Runs a program that leaves its pid in the scope's root, and does not end."""
    host.run(
        ["sh", "-c", f"echo $$ > {scope.root}/new; mv {scope.root}/new {scope.root}/pid; sleep 3600"], 3600
    )
    return seen(scope)


def crash(host: Host, scope: Scope, last: Seen | None) -> Seen:
    # To this thread: what is sent to the process is another thread's, and this one may answer before.
    signal.raise_signal(signal.SIGSEGV)
    return seen(scope)


def bug(host: Host, scope: Scope, last: Seen | None) -> Seen:
    raise ZeroDivisionError("a bug")


PROBES = (names, process, space, stuck, tool, crash, bug)
SOURCES = {
    probe.__name__: Source(probe.__name__, "volume", probe, every_s=60, deadline_s=5) for probe in PROBES
}

if __name__ == "__main__":
    zygote.main(SOURCES)
