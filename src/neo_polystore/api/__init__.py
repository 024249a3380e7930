"""The REST API: one router per concern, problem documents for every error."""
