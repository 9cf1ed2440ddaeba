"""`make lab`: builds what a scenario describes, looks, and says whether all was as expected."""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
from pathlib import Path

from lab.comparing import differences
from lab.errors import LabError
from lab.lab import Lab, lab
from lab.scenario import Scenario, read

RESULTS = Path("build/lab")
_DEFAULT = Path(__file__).with_name("scenarios") / "seed-example.toml"


def _check_document(path: Path, it: Lab) -> bool:
    """Whether the document is the expected one; what is not, is said."""
    expected = it.scenario.expected
    wanted = json.loads((path.parent / expected.document).read_text(encoding="utf-8"))
    first = it.hosts[it.scenario.hosts[0].name]
    first.declare(it.scenario.declaration)
    printed = first.scan(expected.image_storage)
    (it.results / "document.json").write_text(printed, encoding="utf-8")
    found = differences(wanted, json.loads(printed), expected.within)
    for line in found:
        it.say(f"DIFFERS  {line}")
    if not found:
        it.say(f"as expected: the document of {expected.image_storage}")
    return not found


def _run(path: Path, scenario: Scenario, results: Path) -> bool:
    with lab(scenario, results) as it:
        it.build()
        return _check_document(path, it)


def main() -> int:
    """Exit status 0 when all was as expected, 1 when not, 2 when the lab could not be built."""
    parser = argparse.ArgumentParser(prog="make lab")
    parser.add_argument("scenario", nargs="?", type=Path, default=_DEFAULT)
    options = parser.parse_args()
    # SIGTERM tears everything down as Ctrl-C does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    results = RESULTS.resolve()
    try:
        scenario = read(options.scenario)
        shutil.rmtree(results, ignore_errors=True)
        results.mkdir(parents=True)
        return 0 if _run(options.scenario, scenario, results) else 1
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
