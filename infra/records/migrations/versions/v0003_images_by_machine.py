"""What each machine worked is summed up all the time: images are found by their machine."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("image") as table:
        table.create_index(op.f("ix_image_machine"), ["machine"])


def downgrade() -> None:
    with op.batch_alter_table("image") as table:
        table.drop_index(op.f("ix_image_machine"))
