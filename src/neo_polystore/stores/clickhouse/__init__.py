"""Analytics in ClickHouse, over HTTP: a server, or the embedded engine, which speaks the same."""
