"""The records that go through the facade: one module per data type."""
