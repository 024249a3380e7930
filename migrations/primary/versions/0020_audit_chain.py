"""The chains of the audit trail: per tenant and day, each link binds an entry and all before it.

The entries are documents in a store of their own; here stands what they were. Whoever changes or
removes one there would have to change its link here too, and no role but the owner can: links are
made by `audit.link` alone, and nobody may change them.

    genesis = SHA-256("neo_polystore audit chain 1" || the tenant's 16 bytes || day as YYYY-MM-DD)
    hash    = SHA-256(the hash before || digest of the entry || id of the entry in UTF-8)
"""

from alembic import op

revision = "0020_audit_chain"
down_revision = "0019_transaction_keys"

HEADS = """
    CREATE TABLE audit.chain_heads (
        tenant_id uuid NOT NULL,
        day date NOT NULL,
        seq bigint NOT NULL DEFAULT 0,
        hash bytea NOT NULL,
        linked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        CONSTRAINT chain_heads_pkey PRIMARY KEY (tenant_id, day)
    ) WITH (fillfactor = 50)
    """

LINKS = """
    CREATE TABLE audit.chain_links (
        tenant_id uuid NOT NULL,
        day date NOT NULL,
        seq bigint NOT NULL,
        entry_id text NOT NULL,
        digest bytea NOT NULL,
        hash bytea NOT NULL,
        linked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        CONSTRAINT chain_links_pkey PRIMARY KEY (tenant_id, day, seq),
        CONSTRAINT chain_links_entry_unique UNIQUE (tenant_id, day, entry_id),
        CONSTRAINT chain_links_digest_check CHECK (octet_length(digest) = 32),
        CONSTRAINT chain_links_entry_check CHECK (octet_length(entry_id) BETWEEN 1 AND 2000)
    )
    """

# One head after the other in a fixed order, so that two callers wait and never deadlock. An entry
# that has its link already is passed over, so a repeated delivery changes nothing.
LINK = """
    CREATE FUNCTION audit.link(
        tenants uuid[], days date[], entries text[], digests bytea[]
    ) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    DECLARE
        chain record;
        entry record;
        number bigint;
        head bytea;
        linked bigint := 0;
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
            FOR entry IN
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
            END LOOP;
            UPDATE audit.chain_heads h
            SET seq = number, hash = head, linked_at = clock_timestamp()
            WHERE h.tenant_id = chain.tenant AND h.day = chain.day AND h.seq <> number;
        END LOOP;
        RETURN linked;
    END $$
    """

TENANT = "tenant_id = (SELECT NULLIF(current_setting('app.current_tenant', true), '')::uuid)"
SIGNATURE = "audit.link(uuid[], date[], text[], bytea[])"


def upgrade() -> None:
    """Tables that a tenant reads its own of, and the function that alone writes them."""
    for statement in (HEADS, LINKS, LINK):
        op.execute(statement)
    for table in ("audit.chain_heads", "audit.chain_links"):
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY tenant_isolation ON {table} FOR SELECT USING ({TENANT})")
        op.execute(f"CREATE POLICY linking ON {table} TO neo_owner USING (true) WITH CHECK (true)")
        op.execute(f"REVOKE ALL ON {table} FROM neo_app")
        op.execute(f"GRANT SELECT ON {table} TO neo_app")
    op.execute(f"REVOKE ALL ON FUNCTION {SIGNATURE} FROM PUBLIC")
    op.execute(f"GRANT EXECUTE ON FUNCTION {SIGNATURE} TO neo_app")
    op.execute("SELECT core.grant_readers()")


def downgrade() -> None:
    """The chains go; the entries that they bound stay where they are."""
    op.execute(f"DROP FUNCTION {SIGNATURE}")
    op.execute("DROP TABLE audit.chain_links")
    op.execute("DROP TABLE audit.chain_heads")
