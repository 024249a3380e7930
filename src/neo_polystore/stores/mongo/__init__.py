"""Documents in MongoDB, through PyMongo's own asyncio API."""
