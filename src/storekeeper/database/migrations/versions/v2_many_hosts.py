"""Facts by the digest of their key; credentials; what is declared through the API."""

from __future__ import annotations

from hashlib import blake2b

import sqlalchemy as sa
from alembic import op
from sqlalchemy import Column, Double, LargeBinary, Text

revision = "2"
down_revision = "1"

MOVED_AT_ONCE = 5_000


def upgrade() -> None:
    """Moves the facts over, and makes the new tables."""
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
