"""Behaviour over a port, whatever engine stands behind it."""
