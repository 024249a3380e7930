"""Point-in-time recovery of PostgreSQL: archived WAL, base backups, the way back to a moment."""
