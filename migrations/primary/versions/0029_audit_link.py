"""Links audit entries at the same cost however long their chain is.

Looking for an entry's link before making it was planned when the chains were empty, and that plan,
which reads all of a chain, stayed with the connection: each link cost more than the one before.
An insert that meets the unique key of what is there is always answered by its index.
"""

from alembic import op

revision = "0029_audit_link"
down_revision = "0028_evidence"

_FUNCTION = """
    CREATE OR REPLACE FUNCTION audit.link(
        tenants uuid[], days date[], entries text[], digests bytea[]
    ) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    DECLARE
        chain record;
        entry record;
        number bigint;
        head bytea;
        {declared}linked bigint := 0;
    BEGIN
        FOR chain IN
            SELECT DISTINCT i.tenant, i.day FROM unnest(tenants, days) AS i (tenant, day)
            ORDER BY 1, 2
        LOOP
            INSERT INTO audit.chain_heads AS h (tenant_id, day, hash)
            VALUES (chain.tenant, chain.day, sha256(
                convert_to('neo_polystore audit chain 1', 'UTF8') || uuid_send(chain.tenant)
                || convert_to(to_char(chain.day, 'YYYY-MM-DD'), 'UTF8')
            ))
            ON CONFLICT (tenant_id, day) DO NOTHING;
            SELECT h.seq, h.hash INTO number, head FROM audit.chain_heads h
            WHERE h.tenant_id = chain.tenant AND h.day = chain.day FOR UPDATE;
            {loop}
            UPDATE audit.chain_heads h
            SET seq = number, hash = head, linked_at = clock_timestamp()
            WHERE h.tenant_id = chain.tenant AND h.day = chain.day AND h.seq <> number;
        END LOOP;
        RETURN linked;
    END $$
    """

UP = _FUNCTION.replace("{declared}", "next bytea;\n        ").replace(
    "{loop}",
    """FOR entry IN
                SELECT i.id, i.digest
                FROM unnest(tenants, days, entries, digests) WITH ORDINALITY
                    AS i (tenant, day, id, digest, place)
                WHERE i.tenant = chain.tenant AND i.day = chain.day ORDER BY i.place
            LOOP
                next := sha256(head || entry.digest || convert_to(entry.id, 'UTF8'));
                INSERT INTO audit.chain_links (tenant_id, day, seq, entry_id, digest, hash)
                VALUES (chain.tenant, chain.day, number + 1, entry.id, entry.digest, next)
                ON CONFLICT ON CONSTRAINT chain_links_entry_unique DO NOTHING;
                IF FOUND THEN
                    number := number + 1;
                    head := next;
                    linked := linked + 1;
                END IF;
            END LOOP;""",
)
DOWN = _FUNCTION.replace("{declared}", "").replace(
    "{loop}",
    """FOR entry IN
                SELECT i.id, (array_agg(i.digest ORDER BY i.place))[1] AS digest
                FROM unnest(tenants, days, entries, digests) WITH ORDINALITY
                    AS i (tenant, day, id, digest, place)
                WHERE i.tenant = chain.tenant AND i.day = chain.day AND NOT EXISTS (
                    SELECT FROM audit.chain_links l WHERE l.tenant_id = chain.tenant
                        AND l.day = chain.day AND l.entry_id = i.id
                )
                GROUP BY i.id ORDER BY min(i.place)
            LOOP
                number := number + 1;
                head := sha256(head || entry.digest || convert_to(entry.id, 'UTF8'));
                INSERT INTO audit.chain_links (tenant_id, day, seq, entry_id, digest, hash)
                VALUES (chain.tenant, chain.day, number, entry.id, entry.digest, head);
                linked := linked + 1;
            END LOOP;""",
)


def upgrade() -> None:
    """Let the unique key tell what has its link."""
    op.execute(UP)


def downgrade() -> None:
    """Look for the link before it is made, as 0020 does."""
    op.execute(DOWN)
