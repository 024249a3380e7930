"""Who calls, and what he may do: tokens, keys, sessions, roles and the table of permissions."""
