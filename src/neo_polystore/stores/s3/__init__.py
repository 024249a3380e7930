"""Objects in S3 or a service that speaks its protocol."""
