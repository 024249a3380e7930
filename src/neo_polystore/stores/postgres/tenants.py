"""Tenants in `core.tenants`; each sees its own row only."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from neo_polystore.pgkit.select import Column, Selection
from neo_polystore.records.accounts import Tenant
from neo_polystore.stores.postgres.base import PgRecords
from neo_polystore.stores.postgres.merge import Merge, Refusal

IDENTIFIER = Refusal("identifier", "another tenant has it")

SQL = """
WITH incoming AS MATERIALIZED (SELECT * FROM {incoming}),
inserted AS (
    INSERT INTO core.tenants (id, name, identifier, subscription_tier)
    SELECT i.id, i.name, i.identifier, i.subscription_tier FROM incoming i
    ON CONFLICT DO NOTHING RETURNING id
),
updated AS (
    UPDATE core.tenants t
    SET name = i.name, identifier = i.identifier, subscription_tier = i.subscription_tier
    FROM incoming i
    WHERE t.id = i.id AND (t.name, t.identifier, t.subscription_tier)
        IS DISTINCT FROM (i.name, i.identifier, i.subscription_tier)
    RETURNING t.id
)
SELECT i.index, CASE
    WHEN a.id IS NOT NULL THEN 'new'
    WHEN b.id IS NOT NULL THEN 'replaced'
    WHEN t.id IS NOT NULL THEN 'existing'
    ELSE 'unseen' END AS outcome
FROM incoming i LEFT JOIN core.tenants t USING (id)
LEFT JOIN inserted a USING (id) LEFT JOIN updated b USING (id)
"""


def _row(tenant: Tenant) -> tuple[Any, ...]:
    return (tenant.id, tenant.name, tenant.identifier, tenant.subscription_tier)


class PgTenants(PgRecords[Tenant]):
    """The scope's own tenant. Deleting marks it, what belongs to it stays."""

    selection = Selection(
        record=Tenant,
        source="core.tenants t",
        columns={
            "id": Column("t.id", "uuid"),
            "name": Column("t.name", "text"),
            "identifier": Column("t.identifier", "text"),
            "subscription_tier": Column("t.subscription_tier", "text"),
        },
        key=(Column("t.id", "uuid"),),
        fixed="t.deleted_at IS NULL",
    )
    lookup = "FROM core.tenants t WHERE t.id = $1 AND t.deleted_at IS NULL"
    removal = "UPDATE core.tenants SET deleted_at = now() WHERE id = $1 AND deleted_at IS NULL"
    tenant_owned = True
    merge = Merge(
        name="tenants",
        columns={
            "id": "uuid",
            "name": "text",
            "identifier": "text",
            "subscription_tier": "text",
        },
        sql=SQL,
        row=_row,
        refusals={"unseen": IDENTIFIER},
        constraints={"tenants_identifier_key": IDENTIFIER},
    )

    def identify(self, key: str) -> tuple[Any, ...]:
        """The tenant's id."""
        try:
            return (UUID(key),)
        except ValueError:
            raise self.missing(key) from None
