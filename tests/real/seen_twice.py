"""This machine as it is, and as its capture shows it: `python -m tests.real.seen_twice FOLDER`.

Captures into FOLDER and prints what every source sees at every place, and the documents, from the machine
itself with the capture's stand-ins, and from the capture: two JSON objects with the same keys. What depends
on the moment is left out (daemons write logs), and lists are sorted: stand-ins have another order than names.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from storekeeper.agent.asking import DirectAsker
from storekeeper.cli.looking import declaration_of, found_on, look, look_at_storages
from storekeeper.host.captured import CapturedHost
from storekeeper.host.real import RealHost
from storekeeper.host.recording import RecordingHost
from storekeeper.host.stand_ins import StandIns
from storekeeper.merge.scopes import scopes
from storekeeper.merge.truth import HostView
from storekeeper.rows import plain
from storekeeper.sources.contract import Host, Scope

_MOMENT = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC")
_MOMENTARY = {"took_s", "available_bytes", "free_space"}
_LOOKS = 5
_UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")


def seen(host: Host) -> dict[str, Any]:
    """What sources see, by `source place`, and documents, by `document storage`."""
    declaration, asker = declaration_of(None, host), DirectAsker(host)

    def scopes_of(view: HostView) -> Sequence[tuple[str, Scope]]:
        known = found_on(declaration, host, view)
        return scopes(known, {known.host_id: view})[known.host_id]

    view = asyncio.run(look(host, asker, declaration.host_id, scopes_of))
    told: dict[str, Any] = {
        f"{source} {key}": [known.seen.facts, known.seen.faults]
        for (source, key), known in view.looks.items()
    }
    truth = asyncio.run(look_at_storages(host, asker, declaration))
    told |= {f"document {key}": storage.document for key, storage in truth.storages.items()}
    return told


def comparable(live: str, captured: str, stand_ins: StandIns) -> tuple[Any, Any]:
    """Both as JSON's values, sorted and without times, the live one with stand-ins. A UUID that stands in
    headers alone has none.
    """
    kept = set(_UUID.findall(live)) & set(_UUID.findall(captured))
    live, captured = (
        _UUID.sub(lambda found: f"kept-{found[0][:8]}" if found[0] in kept else found[0], text)
        for text in (_MOMENT.sub("then", live), _MOMENT.sub("then", captured))
    )
    return _sorted(json.loads(stand_ins.text(live))), _sorted(json.loads(captured))


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(inner) for key, inner in sorted(value.items()) if key not in _MOMENTARY}
    if isinstance(value, list):
        return sorted(map(_sorted, value), key=json.dumps)
    return value


def _told(host: Host) -> tuple[str, Any]:
    """What a host shows as JSON, and without times."""
    text = msgspec.json.encode(seen(host), enc_hook=plain).decode()
    return text, _sorted(json.loads(_MOMENT.sub("then", text)))


def main(folder: Path) -> None:
    """Captures this machine and prints what both show."""
    for _ in range(_LOOKS):
        recording = RecordingHost(RealHost())
        _, recorded = _told(recording)
        live, now = _told(RealHost())
        # A machine that changed between the two, as a cluster that heals does, is captured again.
        if recorded == now:
            break
    stand_ins = recording.save(folder)
    captured, _ = _told(CapturedHost.load(folder))
    json.dump(comparable(live, captured, stand_ins), sys.stdout)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
