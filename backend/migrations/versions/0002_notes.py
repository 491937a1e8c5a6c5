"""Readers' notes.

Revision ID: 0002
Revises: 0001
Create Date: 2026-10-05 09:00:00
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table of notes; releases that do not know it are not disturbed."""
    op.create_table(
        "notes",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("seq", sa.BigInteger(), sa.Identity(), nullable=False, unique=True),
        sa.Column("book_id", sa.Uuid(), sa.ForeignKey("books.id", ondelete="CASCADE"), index=True),
        sa.Column("chapter", sa.Integer()),
        sa.Column("text", sa.String(), nullable=False),
    )


def downgrade() -> None:
    """Remove the notes, in development only."""
    op.drop_table("notes")
