"""Point-in-time recovery, on a PostgreSQL of its own."""
