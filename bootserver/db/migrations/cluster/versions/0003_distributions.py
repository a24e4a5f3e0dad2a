"""what a distribution's install tree is, and the distribution that a running install comes from"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_FACTS = ("kind", "family", "title", "version", "architecture", "tree")


def upgrade() -> None:
    with op.batch_alter_table("distribution", schema=None) as batch_op:
        for name in _FACTS:
            batch_op.add_column(sa.Column(name, sa.Text(), nullable=False, server_default=""))
    with op.batch_alter_table("install", schema=None) as batch_op:
        batch_op.add_column(sa.Column("distribution", sa.Text(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("install", schema=None) as batch_op:
        batch_op.drop_column("distribution")
    with op.batch_alter_table("distribution", schema=None) as batch_op:
        for name in reversed(_FACTS):
            batch_op.drop_column(name)
