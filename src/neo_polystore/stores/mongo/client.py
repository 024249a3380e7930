"""PyMongo's client as this engine wants it."""

from __future__ import annotations

from typing import Any

from pymongo import AsyncMongoClient

from neo_polystore.stores.mongo.config import MongoConfig

Client = AsyncMongoClient[dict[str, Any]]


def new_client(config: MongoConfig, *, patient: bool = False) -> Client:
    """A client that has not connected yet; a `patient` one waits for long commands."""
    milliseconds = int(config.connect_timeout * 1000)
    return AsyncMongoClient(
        config.url.get_secret_value(),
        connectTimeoutMS=milliseconds,
        serverSelectionTimeoutMS=milliseconds,
        socketTimeoutMS=None if patient else int(config.command_timeout * 1000),
        maxPoolSize=config.max_connections,
        minPoolSize=config.min_connections,
        **config.tls_options(),
        retryWrites=True,
        retryReads=True,
        appname="neo-polystore",
    )
