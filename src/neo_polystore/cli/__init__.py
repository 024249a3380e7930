"""The command line `neo-polystore`: one file per command."""
