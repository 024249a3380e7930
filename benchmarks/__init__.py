"""Benchmarks: the product against the bare driver or the best peer, both in one run, as ratios."""
