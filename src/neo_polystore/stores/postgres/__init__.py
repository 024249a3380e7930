"""The relational engine: accounts, chains, wallets, transactions, contracts, sealed blobs."""
