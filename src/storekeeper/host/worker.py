"""A worker: the process of one lane, in which everything that can hang hangs.

Its first thread only receives, so that it sees the agent's end whatever else hangs; each source and
each watch has a thread of its own. A source's bug is a fault in its answer, never the end of the worker.
"""

from __future__ import annotations

import gc
import os
import socket
import threading
import traceback
from collections.abc import Mapping
from queue import SimpleQueue

from msgspec.structs import replace

from storekeeper import report
from storekeeper.host import commands, events
from storekeeper.host.frames import Channel
from storekeeper.host.real import RealHost
from storekeeper.host.wire import Ask, Told, Watch
from storekeeper.observation import Fault, Seen
from storekeeper.sources.contract import Host, Source

GC_THRESHOLDS = (50_000, 20, 50)  # rows of 20,000 files are no garbage


class Worker:
    """Answers the asks of one lane. Kept by (source, scope key): the last look as its source returned it,
    which may know more than its facts, and what the asker has been told of it.
    """

    def __init__(self, channel: Channel, sources: Mapping[str, Source], host: Host) -> None:
        self._channel = channel
        self._sources = sources
        self._host = host
        self._looks: dict[tuple[str, str], Seen] = {}
        self._told: dict[tuple[str, str], Seen] = {}
        self._queues: dict[str, SimpleQueue[Ask]] = {}
        self._watched: set[tuple[str, str, str]] = set()

    def run(self) -> None:
        """Receives until the agent is gone."""
        while (message := self._channel.receive()) is not None:
            if isinstance(message, Watch):
                self._watch(message)
            else:
                self._queue(message.source).put(message)

    def _queue(self, source: str) -> SimpleQueue[Ask]:
        queue = self._queues.get(source)
        if queue is None:
            queue = self._queues[source] = SimpleQueue()
            threading.Thread(target=self._answer_all, args=(queue,), name=source, daemon=True).start()
        return queue

    def _answer_all(self, queue: SimpleQueue[Ask]) -> None:
        while True:
            told = self.answer(queue.get())
            try:
                self._channel.send(told)
            except OSError:
                return  # the agent is gone; the first thread sees it too

    def answer(self, ask: Ask) -> Told:
        """Looks, and says how that differs from what this worker, or `ask.last`, had seen."""
        key = (ask.source, ask.scope.key)
        told = self._told.get(key, ask.last)
        last = self._looks.get(key, ask.last)
        new = self._looks[key] = report.retain(last, self._look(ask, last))
        changes = report.changes(None if ask.full else told, new)
        told = report.apply(told, changes)
        # Where the asker knows all, one dictionary does: 20,000 facts less to hold, and to compare again.
        self._told[key] = replace(told, facts=new.facts) if told.facts == new.facts else told
        return Told(number=ask.number, changes=changes)

    def _look(self, ask: Ask, last: Seen | None) -> Seen:
        try:
            return self._sources[ask.source].probe(self._host, ask.scope, last)
        except Exception as error:  # noqa: BLE001  a source's bug must not cost its neighbours in the lane
            text = f"{ask.source} failed in a way it should not: {type(error).__name__}: {error}"
            fault = Fault(code="internal", text=text, hides="*")
            return Seen(source=ask.source, scope=ask.scope.key, facts={}, faults=(fault,))

    def _watch(self, watch: Watch) -> None:
        key = (watch.source, watch.scope.key, watch.scope.root)
        if key not in self._watched:
            self._watched.add(key)
            threading.Thread(
                target=self._watch_on, args=(watch, key), name=f"watch {key}", daemon=True
            ).start()

    def _watch_on(self, watch: Watch, key: tuple[str, str, str]) -> None:
        try:
            events.watch(watch, self._channel.send)
        except BrokenPipeError:
            return
        finally:
            self._watched.discard(key)


def main(connection: socket.socket, sources: Mapping[str, Source]) -> None:
    """The whole life of a worker process: serves `connection`, then ends with all it started."""
    gc.set_threshold(*GC_THRESHOLDS)
    try:
        Worker(Channel(connection), sources, RealHost()).run()
    except Exception:  # noqa: BLE001  os._exit would keep it from being seen
        traceback.print_exc()
    finally:
        commands.kill_all_running()
        os._exit(0)  # threads may hang; they end with the process
