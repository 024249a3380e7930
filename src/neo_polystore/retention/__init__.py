"""Retention: what goes when, what is held, and what is archived before it goes."""
