"""Sealing: a documented envelope around AES-256-GCM, its keys, and the life cycle of items."""
