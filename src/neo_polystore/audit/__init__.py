"""The audit trail: who did what to which resource, written so that no entry can get lost."""
