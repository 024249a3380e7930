"""The statements of sealed items; those of users and of services differ in their table alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

# What many items of a batch have in common is sent once, as a shape that they name by its place.
_INCOMING = """
SELECT i.id, i.data_key, {blob} AS blob, i.mac, i.version, i.generation, i.size, i.written_at,
    f.enclave, f.policy, f.measurement, f.product_id, f.svn_floor, f.label, f.policy_name,
    f.attestation, f.expires_at
FROM unnest($4::uuid[], $5::text[], $6::bytea[], $7::bytea[], $8::int[], $9::bigint[],
    $10::bigint[], $11::timestamptz[], $12::int[])
AS i (id, data_key, blob, mac, version, generation, size, written_at, shape)
JOIN unnest($13::text[], $14::text[], $15::bytea[], $16::int[], $17::int[], $18::text[],
    $19::text[], $20::uuid[], $23::timestamptz[]) WITH ORDINALITY
AS f (enclave, policy, measurement, product_id, svn_floor, label, policy_name, attestation,
    expires_at, shape) ON f.shape = i.shape
ORDER BY i.data_key
"""

STAGED: Final = "sealing_parts"
STAGE: Final = f"CREATE TEMP TABLE {STAGED} (number int, part bytea) ON COMMIT DROP"
_GATHERED = f"(SELECT string_agg(part, ''::bytea ORDER BY number) FROM pg_temp.{STAGED})"

# Sealing under a key takes that key's row for the time of the transaction: it cannot be retired
# meanwhile, and where it was, nothing is stored. A row or head that is not the one that was read
# changes nothing, and the caller sees the numbers differ.
_PUT = """
WITH k AS MATERIALIZED (
    SELECT key_alias FROM keymanagement.keys
    WHERE key_alias = $1 AND status = 'active' FOR SHARE
),
i AS MATERIALIZED ({incoming}),
r AS ({row}),
h AS (
    INSERT INTO enclave.sealed_heads AS h (owner, data_key, tenant_id, version, generation, mac,
        key_id, enclave_id, policy, measurement, product_id, svn_floor, label, policy_name,
        size_bytes, attestation_id, written_at, sealed_at)
    SELECT $2::text, i.data_key, $21::uuid, i.version, i.generation, i.mac, k.key_alias, i.enclave,
        i.policy, i.measurement, i.product_id, i.svn_floor, i.label, i.policy_name, i.size,
        i.attestation, i.written_at, now()
    FROM i CROSS JOIN k
    ON CONFLICT (owner, data_key) DO UPDATE SET
        version = excluded.version, generation = excluded.generation, mac = excluded.mac,
        key_id = excluded.key_id, enclave_id = excluded.enclave_id, policy = excluded.policy,
        measurement = excluded.measurement, product_id = excluded.product_id,
        svn_floor = excluded.svn_floor, label = excluded.label,
        policy_name = excluded.policy_name, size_bytes = excluded.size_bytes,
        attestation_id = excluded.attestation_id, written_at = excluded.written_at,
        sealed_at = excluded.sealed_at, deleted_at = NULL
    WHERE h.generation = excluded.generation - 1
    RETURNING 1
){links}
SELECT (SELECT count(*) FROM k) AS usable,
    least((SELECT count(*) FROM r), (SELECT count(*) FROM h)) AS written
"""

_USER_ROW = """
    INSERT INTO enclave.sealed_data AS s
        (id, tenant_id, owner_id, enclave_id, data_key, sealed_blob, mac, policy, version)
    SELECT i.id, $21, $3::text::uuid, i.enclave, $3::text || '/' || i.data_key, i.blob,
        encode(i.mac, 'hex'), i.policy, i.version
    FROM i CROSS JOIN k
    ON CONFLICT (data_key) DO UPDATE SET enclave_id = excluded.enclave_id,
        sealed_blob = excluded.sealed_blob, mac = excluded.mac, policy = excluded.policy,
        version = excluded.version
    WHERE s.version = excluded.version - $22::int
    RETURNING s.data_key AS stored_key"""

_SERVICE_ROW = """
    INSERT INTO sgx.sealed_data_items AS s
        (id, service_name, item_key, sealed_data, mac, policy_id, version, expires_at)
    SELECT i.id, $3::text, i.data_key, i.blob, encode(i.mac, 'hex'), p.id, i.version, i.expires_at
    FROM i CROSS JOIN k LEFT JOIN sgx.sealing_policies p ON p.name = i.policy_name
    ON CONFLICT (service_name, item_key) DO UPDATE SET sealed_data = excluded.sealed_data,
        mac = excluded.mac, policy_id = excluded.policy_id, version = excluded.version,
        expires_at = excluded.expires_at
    WHERE s.version = excluded.version - $22::int
    RETURNING s.item_key AS stored_key, s.id"""

# A link goes with its item, not before.
_LINKS = """,
l AS (
    INSERT INTO sgx.enclave_attestations
        (service_name, sealed_item_id, attestation_id, status, verified_at)
    SELECT $3::text, r.id, a.id, 'verified', a.verified_at
    FROM i JOIN enclave.attestations a ON a.id = i.attestation
    JOIN r ON r.stored_key = i.data_key
    WHERE NOT EXISTS (SELECT FROM sgx.enclave_attestations x
        WHERE x.service_name = $3::text AND x.sealed_item_id = r.id AND x.attestation_id = a.id)
)"""

# One index lookup per key whatever the planner believes of tables that grow while it looks away.
# Heads sort by bytes, the other tables as the database does: hence the collations. The key in the
# other table is made in a place of its own: row-level security lets no index answer a condition
# that concatenates columns, because `||` might tell of rows that are somebody else's.
_FETCH = """
SELECT i.data_key AS wanted, h.*,
    (SELECT k.status FROM keymanagement.keys k WHERE k.key_alias = h.key_id) AS key_status, {facts}
FROM (
    SELECT i.data_key, {of_fetch} AS stored_key FROM unnest($3::text[]) AS i (data_key) OFFSET 0
) i
LEFT JOIN LATERAL (
    SELECT * FROM enclave.sealed_heads h
    WHERE h.owner = $1::text AND h.data_key = i.data_key LIMIT 1
) h ON true
LEFT JOIN LATERAL (SELECT * FROM {table} s WHERE {key} = i.stored_key LIMIT 1) s ON true
"""

_SLICES = """
SELECT octet_length(s.{blob}) AS length, (
    SELECT array_agg(substring(s.{blob} FROM p.start + 1 FOR p.size) ORDER BY p.place)
    FROM unnest($4::int[], $5::int[]) WITH ORDINALITY AS p (start, size, place)
) AS parts
FROM {table} s WHERE {one} AND s.mac = $3::text
"""

_LIST = """
SELECT h.*, {expiry} AS expires_at
FROM (
    SELECT h.*, {of_list} AS stored_key FROM enclave.sealed_heads h
    WHERE h.owner = $1::text AND h.deleted_at IS NULL AND h.data_key > $3::text
        AND starts_with(h.data_key, $4::text) AND h.key_id = coalesce($6::text, h.key_id)
    ORDER BY h.data_key OFFSET 0
) h
CROSS JOIN LATERAL (SELECT * FROM {table} s WHERE {key} = h.stored_key LIMIT 1) s
ORDER BY h.data_key LIMIT $5
"""


@dataclass(frozen=True, slots=True)
class Statements:
    """Parameters 1 to 3 are owner or key, and who it is: see each statement."""

    put: str
    put_staged: str
    slices: str
    fetch: str
    fetch_facts: str
    list: str
    delete: str


_USERS = {
    "table": "enclave.sealed_data",
    "key": "s.owner_id = $2::text::uuid AND s.data_key",
    "of_fetch": "$2::text || '/' || i.data_key",
    "of_list": """$2::text || '/' || h.data_key COLLATE "default" """,
    "one": "s.owner_id = $1::text::uuid AND s.data_key = $1::text || '/' || $2::text",
    "blob": "sealed_blob",
}
_SERVICES = {
    "table": "sgx.sealed_data_items",
    "key": "s.service_name = $2::text AND s.item_key",
    "of_fetch": "i.data_key",
    "of_list": """h.data_key COLLATE "default" """,
    "one": "s.service_name = $1::text AND s.item_key = $2::text",
    "blob": "sealed_data",
}


def _statements(
    place: dict[str, str], *, row: str, facts: str, expiry: str, delete: str, links: str = ""
) -> Statements:
    def put(blob: str) -> str:
        return _PUT.format(incoming=_INCOMING.format(blob=blob), row=row, links=links)

    def fetch(blob: str) -> str:
        return _FETCH.format(facts=f"{facts}, {blob} AS blob", **place)

    return Statements(
        put=put("i.blob"),
        put_staged=put(_GATHERED),
        slices=_SLICES.format(**place),
        fetch=fetch(f"s.{place['blob']}"),
        fetch_facts=fetch("NULL::bytea"),
        list=_LIST.format(expiry=expiry, **place),
        delete=delete,
    )


USER: Final = _statements(
    _USERS,
    row=_USER_ROW,
    facts="s.version AS row_version, s.mac AS row_mac, s.enclave_id AS row_enclave,"
    " NULL::timestamptz AS expires_at",
    expiry="NULL::timestamptz",
    delete="""
    DELETE FROM enclave.sealed_data s USING enclave.sealed_heads h
    WHERE s.owner_id = $2::text::uuid AND s.data_key = $2::text || '/' || $3::text
        AND h.owner = $1::text AND h.data_key = $3::text AND h.generation = $4
    RETURNING 1
    """,
)
SERVICE: Final = _statements(
    _SERVICES,
    row=_SERVICE_ROW,
    links=_LINKS,
    facts="s.version AS row_version, s.mac AS row_mac, h.enclave_id AS row_enclave, s.expires_at",
    expiry="s.expires_at",
    delete="""
    DELETE FROM sgx.sealed_data_items s USING enclave.sealed_heads h
    WHERE s.service_name = $2::text AND s.item_key = $3::text
        AND h.owner = $1::text AND h.data_key = $3::text AND h.generation = $4
    RETURNING 1
    """,
)

OWNERS: Final = """
SELECT owner, tenant_id, count(*) AS items FROM enclave.sealed_heads
WHERE key_id = $1 AND deleted_at IS NULL GROUP BY owner, tenant_id ORDER BY owner
"""
SURVEY: Final = """
SELECT key_id, policy, svn_floor, policy_name, count(*) AS items,
    sum(size_bytes)::bigint AS bytes, min(sealed_at) AS oldest
FROM enclave.sealed_heads WHERE deleted_at IS NULL
GROUP BY key_id, policy, svn_floor, policy_name ORDER BY key_id, policy, svn_floor, policy_name
"""
POLICIES: Final = """
SELECT name, policy_type, retention_days, key_rotation_days, allowed_enclaves, svn_floor,
    attestation_max_age, attestation_policy
FROM sgx.sealing_policies WHERE name = coalesce($1, name) ORDER BY name
"""
PUT_POLICY: Final = """
INSERT INTO sgx.sealing_policies AS p (name, policy_type, retention_days, key_rotation_days,
    allowed_enclaves, svn_floor, attestation_max_age, attestation_policy)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (name) DO UPDATE SET retention_days = excluded.retention_days,
    key_rotation_days = excluded.key_rotation_days, allowed_enclaves = excluded.allowed_enclaves,
    svn_floor = excluded.svn_floor, attestation_max_age = excluded.attestation_max_age,
    attestation_policy = excluded.attestation_policy
WHERE p.policy_type = excluded.policy_type
RETURNING 1
"""
