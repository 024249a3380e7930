"""Wrapping of master keys: by a key of our own, AWS KMS, or HashiCorp Vault."""
