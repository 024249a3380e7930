"""Backups of every store: made, listed, verified, restored, pruned."""
