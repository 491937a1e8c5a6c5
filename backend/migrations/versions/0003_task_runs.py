"""Runs of the debug task.

Revision ID: 0003
Revises: 0002
Create Date: 2026-11-23 09:00:00
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table that load tests count in; releases that do not know it are not disturbed."""
    op.create_table(
        "task_runs",
        sa.Column("run", sa.BigInteger(), sa.Identity(), primary_key=True),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True)),
        sa.Column("release", sa.String(), nullable=False),
    )


def downgrade() -> None:
    """Remove the runs, in development only."""
    op.drop_table("task_runs")
