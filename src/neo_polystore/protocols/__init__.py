"""Formats in which metrics are sent: decoders from bytes to columns, without any I/O."""
