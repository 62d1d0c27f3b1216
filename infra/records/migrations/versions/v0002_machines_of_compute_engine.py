"""Machines are rented from Compute Engine: what they are, what they cost, and how each was asked for."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("machine") as table:
        table.add_column(sa.Column("gpu", sa.String(), nullable=True))
        table.add_column(sa.Column("gpus", sa.Integer(), nullable=False, server_default="0"))
        table.add_column(sa.Column("on_demand_per_hour", sa.Float(), nullable=True))
        table.add_column(sa.Column("reason", sa.String(), nullable=False, server_default=""))
        table.add_column(sa.Column("request_id", sa.String(), nullable=False, server_default=""))
        table.add_column(sa.Column("operation", sa.String(), nullable=True))
        table.add_column(sa.Column("stopping_at", sa.DateTime(timezone=True), nullable=True))
        table.drop_column("pid")
        table.create_index(op.f("ix_machine_ended_at"), ["ended_at"])
    with op.batch_alter_table("attempt") as table:
        table.create_index(op.f("ix_attempt_machine"), ["machine"])


def downgrade() -> None:
    with op.batch_alter_table("attempt") as table:
        table.drop_index(op.f("ix_attempt_machine"))
    with op.batch_alter_table("machine") as table:
        table.drop_index(op.f("ix_machine_ended_at"))
        table.add_column(sa.Column("pid", sa.Integer(), nullable=True))
        for name in ("stopping_at", "operation", "request_id", "reason", "on_demand_per_hour", "gpus", "gpu"):
            table.drop_column(name)
