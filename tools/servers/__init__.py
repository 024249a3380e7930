"""`python -m tools.servers`: the conformance suites against every server that can be had here."""
