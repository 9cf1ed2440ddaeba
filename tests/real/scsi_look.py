"""What our sources see in the guest of scsi_machine.py, twice in a row, as JSON files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec

from storekeeper.host.real import RealHost
from storekeeper.sources import disks, ocfs2
from storekeeper.sources.contract import Scope


def main(directory: Path) -> None:
    """Writes `disks-1.json`, `ocfs2-1.json` and the same of a second look."""
    host = RealHost()
    for look in ("1", "2"):
        for source, probe in (("disks", disks.probe), ("ocfs2", ocfs2.probe)):
            seen = probe(host, Scope(), None)
            (directory / f"{source}-{look}.json").write_bytes(msgspec.json.encode(seen))
    # A thread of ours still waits for the disk that hangs; as long as it does, this process cannot end.
    subprocess.run(["dmsetup", "resume", "--noudevsync", "hung"], check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
