"""`python -m neo_polystore`: the same as the command `neo-polystore`."""

from neo_polystore.cli.entry import main

if __name__ == "__main__":
    main()
