"""The Elasticsearch engine, for Elasticsearch and OpenSearch: log lines, an index per day."""
