"""Tokens, key sets, API keys, and the table of permissions."""
