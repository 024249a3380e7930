"""What every engine that stands on PostgreSQL shares: connections, errors, queries, migrations."""
