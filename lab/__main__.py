"""`make lab`: builds what a scenario describes, looks, and says whether all was as expected."""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
from pathlib import Path

from lab.errors import LabError
from lab.faults import try_faults
from lab.lab import Lab, lab
from lab.scenario import read
from lab.shell import shell

RESULTS = Path("build/lab")
_DEFAULT = Path(__file__).with_name("scenarios") / "seed-example.toml"


def _is_as_expected(it: Lab) -> bool:
    """Whether the document is the expected one; what is not, is said."""
    storage, found = it.scenario.expected.image_storage, it.differences(it.document())
    for line in found:
        it.say(f"NOT AS EXPECTED: the document of {storage}: {line}")
    if not found:
        it.say(f"as expected: the document of {storage}")
    return not found


def _run(path: Path, results: Path, *, with_shell: bool) -> bool:
    scenario = read(path)
    expected = json.loads((path.parent / scenario.expected.document).read_text(encoding="utf-8"))
    shutil.rmtree(results, ignore_errors=True)
    results.mkdir(parents=True)
    with lab(scenario, expected, results) as it:
        it.build()
        good = _is_as_expected(it)
        if with_shell:
            shell(it)
            return good
        return good and try_faults(it)


def main() -> int:
    """Exit status 0 when all was as expected, 1 when not, 2 when the lab could not be built."""
    parser = argparse.ArgumentParser(prog="make lab")
    parser.add_argument("scenario", nargs="?", type=Path, default=_DEFAULT)
    parser.add_argument("--shell", action="store_true", help="leave it up, and run commands in the hosts")
    options = parser.parse_args()
    # SIGTERM tears everything down as Ctrl-C does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        return 0 if _run(options.scenario, RESULTS.resolve(), with_shell=options.shell) else 1
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
