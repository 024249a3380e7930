-- Facts go by `neo-polystore retention apply`, not by a TTL: merges ask for no hold and archive
-- nothing. The condition that nothing meets is written in place of REMOVE TTL, which fails where
-- there is none: so two runners at once do no harm.
ALTER TABLE facts
    MODIFY TTL recorded_at + INTERVAL 1 YEAR DELETE WHERE 0
    SETTINGS materialize_ttl_after_modify = 0
