"""Objects in a directory."""
