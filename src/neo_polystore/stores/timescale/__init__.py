"""Metric points in TimescaleDB, or in plain PostgreSQL partitioned by day."""
