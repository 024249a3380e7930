"""Finds a sealed row by its key through any index that a planner may take.

Of an empty table a planner takes every index to be as good as any other, and a plan made then
stays with its connection. The index by owner, and that of a service's ids, then read all rows of
the owner or service for each key. Now the first has the key as well, and the other begins with
the id.
"""

from alembic import op

revision = "0030_sealed_lookup"
down_revision = "0029_audit_link"


ITEMS, LINKS = "sgx.sealed_data_items", "sgx.enclave_attestations"
UNIQUE, REFERS = "sealed_data_items_service_id_unique", "enclave_attestations_item_fkey"


def upgrade() -> None:
    """Put the key behind tenant and owner, and the service behind the id."""
    _rebuild("tenant_id, owner_id, data_key", "id, service_name")


def downgrade() -> None:
    """The indexes as they were."""
    _rebuild("tenant_id, owner_id", "service_name, id")


def _rebuild(of_owner: str, of_service: str) -> None:
    op.execute("DROP INDEX enclave.idx_sealed_data_owner")
    op.execute(f"CREATE INDEX idx_sealed_data_owner ON enclave.sealed_data ({of_owner})")
    op.execute(f"ALTER TABLE {LINKS} DROP CONSTRAINT {REFERS}")
    op.execute(
        f"ALTER TABLE {ITEMS} DROP CONSTRAINT {UNIQUE},"
        f" ADD CONSTRAINT {UNIQUE} UNIQUE ({of_service})"
    )
    op.execute(
        f"ALTER TABLE {LINKS} ADD CONSTRAINT {REFERS} FOREIGN KEY (service_name, sealed_item_id)"
        f" REFERENCES {ITEMS} (service_name, id) ON DELETE CASCADE"
    )
