"""The formats in which metrics are sent."""
