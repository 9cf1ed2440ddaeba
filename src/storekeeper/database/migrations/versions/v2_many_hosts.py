"""Facts by the digest of their key, memory by volume; how far hosts are known; credentials; declarations."""

from __future__ import annotations

from hashlib import blake2b

import msgspec
import sqlalchemy as sa
from alembic import op
from sqlalchemy import BigInteger, Column, Double, LargeBinary, Text

revision = "2"
down_revision = "1"

MOVED_AT_ONCE = 5_000


class MemoryOf1(msgspec.Struct):
    """All that version 0.1 remembered, by volume key."""

    filesystem_ids: dict[str, str] = {}
    mount_points: set[str] = set()
    parents: dict[str, dict[str, str]] = {}
    first_seen: dict[str, dict[str, float]] = {}
    spaces: dict[str, tuple[int, int]] = {}
    since: dict[str, dict[str, float]] = {}


def upgrade() -> None:
    """Moves facts and memory over, and makes the new tables."""
    _facts()
    _memory()
    _sharing()
    _many_hosts()


def _facts() -> None:
    op.rename_table("facts", "facts_of_1")
    facts = op.create_table(
        "facts",
        Column("host_id", Text, primary_key=True),
        Column("source", Text, primary_key=True),
        Column("scope", Text, primary_key=True),
        Column("key_digest", LargeBinary, primary_key=True),
        Column("fact", LargeBinary, nullable=False),
        sqlite_with_rowid=False,
    )
    connection = op.get_bind()
    former = sa.table(
        "facts_of_1", *(sa.column(name) for name in ("host_id", "source", "scope", "key", "fact"))
    )
    for rows in connection.execute(sa.select(former)).partitions(MOVED_AT_ONCE):
        moved = [
            {
                "host_id": row.host_id,
                "source": row.source,
                "scope": row.scope,
                "key_digest": blake2b(row.key.encode(), digest_size=16).digest(),
                "fact": row.fact,
            }
            for row in rows
        ]
        connection.execute(facts.insert(), moved)
    op.drop_table("facts_of_1")


def _memory() -> None:
    connection = op.get_bind()
    value = connection.execute(sa.text("SELECT value FROM memory")).scalar()
    op.drop_table("memory")
    memory = op.create_table(
        "memory",
        Column("volume_key", Text, primary_key=True),
        Column("step", BigInteger, nullable=False),
        Column("value", LargeBinary, nullable=False),
    )
    try:
        former = msgspec.msgpack.decode(value, type=MemoryOf1) if value else MemoryOf1()
    except msgspec.DecodeError:
        # Nothing is remembered then: what is in a volume's place now is taken for the volume, and reflink
        # parents are decided anew.
        former = MemoryOf1()
    keys = set(former.mount_points).union(
        former.filesystem_ids, former.parents, former.first_seen, former.spaces, former.since
    )
    rows = [
        {"volume_key": key, "step": 1, "value": msgspec.msgpack.encode(_of_volume(former, key))}
        for key in sorted(keys)
    ]
    if rows:
        connection.execute(memory.insert(), rows)


def _of_volume(former: MemoryOf1, key: str) -> dict[str, object]:
    return {
        "filesystem_id": former.filesystem_ids.get(key),
        "is_mount_point": key in former.mount_points,
        "parents": former.parents.get(key, {}),
        "first_seen": former.first_seen.get(key, {}),
        "space": former.spaces.get(key),
        "since": former.since.get(key, {}),
    }


def _sharing() -> None:
    op.create_table(
        "reports",
        Column("host_id", Text, primary_key=True),
        Column("step", BigInteger, nullable=False),
        Column("value", LargeBinary, nullable=False),
    )
    op.create_table(
        "steps",
        Column("host_id", Text, primary_key=True),
        Column("step", BigInteger, primary_key=True, autoincrement=False),
        Column("after", BigInteger, nullable=False),
        Column("mark", LargeBinary, nullable=False),
        Column("steps", LargeBinary),
        Column("at", Double, nullable=False),
    )
    op.create_index("steps_by_age", "steps", ["at"])


def _many_hosts() -> None:
    op.create_table(
        "credentials",
        Column("credential_id", Text, primary_key=True),
        Column("kind", Text, nullable=False),
        Column("secret_hash", LargeBinary, nullable=False),
        Column("created_at", Double, nullable=False),
        Column("expires_at", Double, nullable=False),
        Column("name", Text, nullable=False),
        Column("role", Text, nullable=False),
        Column("host_id", Text, nullable=False),
        Column("machine_id", Text, nullable=False),
    )
    op.create_table(
        "image_storages",
        Column("image_storage_id", Text, primary_key=True),
        Column("declared", Text, nullable=False),
    )
    op.create_table(
        "hosts",
        Column("host_id", Text, primary_key=True),
        Column("declared", Text, nullable=False),
    )
