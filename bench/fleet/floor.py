"""The floor of first reports: one process that takes each volume's report to a document and to a table."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

import msgspec
import zstandard

from bench.fleet.storages import MIB, SimulatedStorage
from bench.table import seconds
from storekeeper.document import ImageInfo
from storekeeper.observation import Image
from storekeeper.report import PROTOCOL, Changes, Report

SAMPLE = 10
_TABLE = "CREATE TABLE facts (scope TEXT, key TEXT, fact BLOB, PRIMARY KEY (scope, key)) WITHOUT ROWID"


def first_reports_s(storages: Sequence[SimulatedStorage], build: Path) -> float:
    """Seconds for all storages, from a sample: decompressed, decoded, listed as JSON, and stored in SQLite, a
    row an image. No merge, no HTTP, no other host.
    """
    sample = storages[:SAMPLE]
    bodies = [_body(storage) for storage in sample]
    connection = sqlite3.connect(build / "floor.db", isolation_level=None)
    connection.execute(_TABLE)
    took_s = seconds(lambda: [_take(body, connection) for body in bodies])
    connection.close()
    return took_s * len(storages) / len(sample)


def _body(storage: SimulatedStorage) -> bytes:
    change = Changes(
        source="images", scope=storage.key, full=True, facts=list(storage.images.values()), gone=[], faults=()
    )
    report = Report(
        host_id="floor", version="", protocol=PROTOCOL, machine_id="", boot_id="", run=1, number=1, full=True,
        sent_at=0.0, changes=[change],
    )  # fmt: skip
    return zstandard.ZstdCompressor().compress(msgspec.msgpack.encode(report))


def _take(body: bytes, connection: sqlite3.Connection) -> bytes:
    report = msgspec.msgpack.decode(zstandard.ZstdDecompressor().decompress(body), type=Report)
    (change,) = report.changes
    images = [fact for fact in change.facts if isinstance(fact, Image)]
    encode = msgspec.msgpack.Encoder().encode
    connection.execute("BEGIN")
    connection.executemany(
        "INSERT INTO facts VALUES (?, ?, ?)", ((change.scope, image.key, encode(image)) for image in images)
    )
    connection.execute("COMMIT")
    rows = [ImageInfo(image.key, "images", "", "", image.header.virtual_bytes // MIB) for image in images]
    return msgspec.json.encode(rows)
