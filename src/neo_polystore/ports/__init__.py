"""What the engines promise: the lifecycle of a store, and one small protocol per data type."""
