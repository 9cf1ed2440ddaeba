"""`make bench-fleet`: a fleet on a database, from first reports to a kill. See `--help` for smaller ones."""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import shutil
import signal
from pathlib import Path

import msgspec
import structlog
import uvloop

from bench.fleet.fleet import Fleet, Load, Size, managers_on
from bench.fleet.floor import first_reports_s
from bench.fleet.managers import database

# What 1 % of all images a minute is, times these.
CHURN = (1, 2, 5, 10, 20, 40, 80)
AIM_MS = 500.0
AIM_MIB = 2048
TIMEOUT_S = 600.0
WARM_S = 5.0


def keeps_up(load: Load) -> bool:
    """Whether the managers could go on like this, within the aim."""
    return not load.unserved and load.report_to_document.p99_ms < AIM_MS and not load.failures


async def measured(fleet: Fleet, churn: list[int], seconds: float, floor_s: float) -> dict[str, object]:
    """Everything, in order, printed as it is known."""
    images = sum(len(storage.images) for storage in fleet.storages)
    found: dict[str, object] = {"images": images, "floor_s": floor_s}
    task = asyncio.current_task()
    assert task is not None
    # Whoever stops this stops the managers.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    async with fleet.running():
        first = found["first"] = await fleet.first_reports(TIMEOUT_S)
        print(f"all images served after {first.seconds:.1f} s, {first.seconds / floor_s:.1f} x the floor; "
              f"{first.reports_s:.0f} reports/s")  # fmt: skip
        print(_cost(first), flush=True)
        await fleet.rest(TIMEOUT_S)
        # A thousand agents in one process have a million images, among which looking for garbage takes half a
        # second, and all of them would wait.
        gc.freeze()
        gc.disable()
        print(_HEAD)
        steps: dict[int, Load] = {}
        found["steady"] = steps
        for times in churn:
            await fleet.steady(images * 0.01 / 60 * times, min(WARM_S, seconds))
            load = steps[times] = await fleet.steady(images * 0.01 / 60 * times, seconds)
            print(_row(times, load), flush=True)
            if not keeps_up(load):
                failures = ", ".join(f"{count} {code}" for code, count in load.failures.items())
                print(f"beyond the aim: {load.unserved} unserved {failures}")
                break
        served_s, again = await fleet.restart(TIMEOUT_S)
        found["restart"] = {"last_truth_served_s": served_s, "all_known_again": again}
        print(f"killed: last truth served after {served_s:.1f} s, all agents heard and all changes served "
              f"after {again.seconds:.1f} s,")  # fmt: skip
        print(f"with {again.full_reports} full reports; {_cost(again)}")
    return found


_HEAD = """\
           report to answer  to document   lag    cores of              most
churn   /s  p50 ms   p99     p50     p99   p99    managers agents  db    MiB"""


def _row(times: int, load: Load) -> str:
    request, document, cores = load.request, load.report_to_document, load.cores
    return (
        f"{f'x{times}':5} {load.reports_s:4.0f} {request.median_ms:7.0f} {request.p99_ms:5.0f} "
        f"{document.median_ms:7.0f} {document.p99_ms:7.0f} {load.lag.p99_ms:5.0f} "
        f"{cores['managers']:11.2f} {cores['agents']:6.2f} {cores.get('database', 0.0):4.2f} "
        f"{max(load.most_memory_mib):5}"
    )


def _cost(load: Load) -> str:
    cores = ", ".join(f"{name} {used:.2f}" for name, used in load.cores.items())
    return f"{cores}; {max(load.most_memory_mib)} MiB"


def main() -> None:
    """Makes the fleet, measures, prints, and leaves `build/bench/fleet-*.json`."""
    parser = argparse.ArgumentParser(prog="make bench-fleet")
    parser.add_argument("--hosts", type=int, default=1000)
    parser.add_argument("--storages", type=int, default=0, help="one for each five hosts")
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--managers", type=int, default=1)
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument(
        "--churn", type=int, nargs="*", default=CHURN, help="times 1 %% of all images a minute"
    )
    parser.add_argument("--seconds", type=float, default=20.0, help="how long each churn is measured")
    options = parser.parse_args()
    # A thousand agents would each say that their manager was killed.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    size = Size(options.hosts, options.storages or max(1, options.hosts // 5), options.images)
    name = f"fleet-{options.database}-{options.managers}"
    build = Path("build/bench").resolve() / name
    shutil.rmtree(build, ignore_errors=True)
    build.mkdir(parents=True)
    print(f"{size.hosts} hosts, {size.storages} storages, {size.images} images; "
          f"{options.managers} manager(s) on {options.database}", flush=True)  # fmt: skip
    with database(options.database, build) as (url, database_pid):
        fleet = Fleet(size, managers_on(options.managers, build, url), url, database_pid)
        floor_s = first_reports_s(fleet.storages, build)
        found = uvloop.run(measured(fleet, options.churn, options.seconds, floor_s))
    result = {"size": size, "database": options.database, "managers": options.managers, **found}
    (build.parent / f"{name}.json").write_bytes(msgspec.json.format(msgspec.json.encode(result)))


if __name__ == "__main__":
    main()
