"""Logs in tantivy: one full-text index per day in a data directory, shared by any processes."""
