"""The tables as the newest migration leaves them.

Facts are keyed by a digest: a key may be a path of 4 KiB, more than an index of PostgreSQL holds, or carry a
NUL, which its text does not. The fact itself knows its key.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Dialect, Double, Index, LargeBinary, MetaData, Table, Text

METADATA = MetaData()


class Bytes(LargeBinary):
    """Bytes given to the driver as they are: what LargeBinary makes of them costs more than writing them."""

    def bind_processor(self, dialect: Dialect) -> None:  # noqa: ARG002
        """None is needed: both drivers take bytes."""
        return


# How far each host is known: its `Mark`, and the step of the last change.
REPORTS = Table(
    "reports",
    METADATA,
    Column("host_id", Text, primary_key=True),
    Column("step", BigInteger, nullable=False),
    Column("value", Bytes, nullable=False),
)

# What the last changes of hosts were, for the other managers; of a database that has several only. Each
# follows on `after`. `steps` is null where they are too much to be told twice; `at` by the database's clock
# (epoch seconds).
STEPS = Table(
    "steps",
    METADATA,
    Column("host_id", Text, primary_key=True),
    Column("step", BigInteger, primary_key=True, autoincrement=False),
    Column("after", BigInteger, nullable=False),
    Column("mark", Bytes, nullable=False),
    Column("steps", Bytes),
    Column("at", Double, nullable=False),
    Index("steps_by_age", "at"),
)

MEMORY = Table(
    "memory",
    METADATA,
    Column("volume_key", Text, primary_key=True),
    Column("step", BigInteger, nullable=False),
    Column("value", Bytes, nullable=False),
)

LOOKS = Table(
    "looks",
    METADATA,
    Column("host_id", Text, primary_key=True),
    Column("source", Text, primary_key=True),
    Column("scope", Text, primary_key=True),
    Column("faults", Bytes, nullable=False),
    Column("at", Double, nullable=False),
    Column("good_at", Double, nullable=False),
    sqlite_with_rowid=False,
)

FACTS = Table(
    "facts",
    METADATA,
    Column("host_id", Text, primary_key=True),
    Column("source", Text, primary_key=True),
    Column("scope", Text, primary_key=True),
    Column("key_digest", Bytes, primary_key=True),
    Column("fact", Bytes, nullable=False),
    sqlite_with_rowid=False,
)

CREDENTIALS = Table(
    "credentials",
    METADATA,
    Column("credential_id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("secret_hash", Bytes, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False),
    Column("name", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("host_id", Text, nullable=False),
    Column("machine_id", Text, nullable=False),
)

# What was declared through the API, as JSON.
IMAGE_STORAGES = Table(
    "image_storages",
    METADATA,
    Column("image_storage_id", Text, primary_key=True),
    Column("declared", Text, nullable=False),
)

HOSTS = Table(
    "hosts",
    METADATA,
    Column("host_id", Text, primary_key=True),
    Column("declared", Text, nullable=False),
)
