"""Attestation of enclaves: Intel DCAP quotes read strictly, verified offline, judged by policy."""
