"""Documents in PostgreSQL JSONB: the same collections and validators as in MongoDB."""
