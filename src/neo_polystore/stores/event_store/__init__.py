"""Append-only event streams in a PostgreSQL database of their own."""
