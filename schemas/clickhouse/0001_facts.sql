-- Analytics facts. One statement per file: ClickHouse has no transaction for DDL.
-- Rows that are equal in the sorting key collapse, so an insert that is repeated leaves one row.
-- The TTL counts from the day of loading, not from the fact's own time: old data loads like new.
-- An acknowledged insert is on disk: file contents and directory are synced before the answer.
CREATE TABLE IF NOT EXISTS facts
(
    id UUID,
    timestamp DateTime64(6, 'UTC') CODEC(Delta, ZSTD),
    fact_type LowCardinality(String),
    subject String CODEC(ZSTD),
    value Decimal(38, 18) CODEC(ZSTD),
    dimensions Map(LowCardinality(String), String) CODEC(ZSTD),
    recorded_at DateTime('UTC') DEFAULT now() CODEC(Delta, ZSTD),
    INDEX by_id id TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(timestamp)
ORDER BY (fact_type, timestamp, id)
TTL recorded_at + INTERVAL 1 YEAR
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
