"""The tables of version 0.1, which made them without Alembic: where they are already, they stay."""

from __future__ import annotations

from alembic import op
from sqlalchemy import CheckConstraint, Column, Double, Integer, LargeBinary, Text

revision = "1"
down_revision = None


def upgrade() -> None:
    """Makes what is missing of them."""
    op.create_table(
        "memory",
        Column("id", Integer, CheckConstraint("id = 1"), primary_key=True, autoincrement=False),
        Column("value", LargeBinary, nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "looks",
        Column("host_id", Text, primary_key=True),
        Column("source", Text, primary_key=True),
        Column("scope", Text, primary_key=True),
        Column("faults", LargeBinary, nullable=False),
        Column("at", Double, nullable=False),
        Column("good_at", Double, nullable=False),
        sqlite_with_rowid=False,
        if_not_exists=True,
    )
    op.create_table(
        "facts",
        Column("host_id", Text, primary_key=True),
        Column("source", Text, primary_key=True),
        Column("scope", Text, primary_key=True),
        Column("key", Text, primary_key=True),
        Column("fact", LargeBinary, nullable=False),
        sqlite_with_rowid=False,
        if_not_exists=True,
    )
