"""Requests over HTTP: Elastic's own transport, which serves Elasticsearch and OpenSearch alike.

The client packages of the two servers refuse each other's; the transport below them does not, and
the few requests that logs take are the same for both.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote, urlencode

import orjson
from elastic_transport import AiohttpHttpNode, AsyncTransport
from elastic_transport.client_utils import basic_auth_to_header, url_to_node_config

from neo_polystore.activity import Recorder
from neo_polystore.errors import ConfigError, UnavailableError
from neo_polystore.stores.elasticsearch.config import ElasticsearchConfig
from neo_polystore.stores.elasticsearch.errors import STORE, refused, translated

_JSON = "application/json"
_LINES = "application/x-ndjson"
Answer = dict[str, Any]


class Client:
    """One server's connections, for use from one event loop."""

    def __init__(self, config: ElasticsearchConfig):
        self.config = config
        self.recorder = Recorder("elasticsearch")
        self._transport: AsyncTransport | None = None

    @property
    def is_open(self) -> bool:
        """Whether `open` was called, and `close` was not since."""
        return self._transport is not None

    def open(self) -> None:
        """Make ready; asks nobody. ConfigError for an address that is none."""
        if self._transport is None:
            self._transport = _transport(self.config)

    async def close(self) -> None:
        """Close the connections."""
        transport, self._transport = self._transport, None
        if transport is not None:
            await transport.close()

    async def ask(
        self,
        operation: str,
        method: str,
        path: Sequence[str],
        body: Any = None,
        *,
        missing: Any = None,
        **parameters: Any,
    ) -> Any:
        """The decoded answer to a request; `path` and `parameters` are quoted here.

        Where `missing` is given it is the answer to a 404. Raises as `errors.refused`.
        """
        data = None if body is None else orjson.dumps(body)
        status, answer = await self._send(operation, method, path, data, _JSON, parameters)
        if status == 404 and missing is not None:
            return missing
        if status >= 300:
            raise refused(status, answer, operation)
        if isinstance(answer, dict) and answer.get("_shards", {}).get("failed"):
            # what is left is no answer: some days of it are missing
            raise refused(503, answer["_shards"]["failures"][0], operation)
        return answer

    async def bulk(
        self, operation: str, index: str, lines: Sequence[bytes], **parameters: Any
    ) -> Sequence[Answer]:
        """What became of each action; `lines` are actions and sources, each without its end."""
        data = b"\n".join([*lines, b""])
        path = [index, "_bulk"]
        status, answer = await self._send(operation, "POST", path, data, _LINES, parameters)
        if status >= 300:
            raise refused(status, answer, operation)
        return [next(iter(item.values())) for item in answer["items"]]

    async def _send(
        self,
        operation: str,
        method: str,
        path: Sequence[str],
        data: bytes | None,
        kind: str,
        parameters: Mapping[str, Any],
    ) -> tuple[int, Any]:
        if self._transport is None:
            error = UnavailableError("not connected", store=STORE, operation=operation)
            self.recorder.failed(operation, error)
            raise error
        target = "/" + "/".join(quote(part, safe=",*") for part in path)
        if parameters:
            target += "?" + urlencode(parameters)
        headers = {"accept": _JSON, **({"content-type": kind} if data is not None else {})}
        with self.recorder.statement(operation), translated(operation):
            done = await self._transport.perform_request(method, target, body=data, headers=headers)
        return done.meta.status, done.body


@asynccontextmanager
async def opened(config: ElasticsearchConfig) -> AsyncIterator[Client]:
    """A client of one's own, closed at the end."""
    client = Client(config)
    client.open()
    try:
        yield client
    finally:
        await client.close()


def _transport(config: ElasticsearchConfig) -> AsyncTransport:
    try:
        node = url_to_node_config(config.url.get_secret_value(), use_default_ports_for_scheme=True)
    except ValueError:
        raise ConfigError(
            "ELASTICSEARCH_URL is no address: expected http(s)://host:port", store=STORE
        ) from None
    headers = dict(node.headers)
    if key := config.api_key.get_secret_value():
        headers["authorization"] = f"ApiKey {key}"
    elif config.user:
        password = config.password.get_secret_value()
        headers["authorization"] = basic_auth_to_header((config.user, password))
    node = node.replace(
        headers=headers,
        request_timeout=config.timeout,
        connections_per_node=config.connections,
        http_compress=False,
        **({"ca_certs": str(config.ca_file)} if config.ca_file is not None else {}),
    )
    return AsyncTransport(
        [node],
        node_class=AiohttpHttpNode,
        # a connection that the server had closed meanwhile; nothing is stored twice by it
        max_retries=1,
        retry_on_status=(),
        # a node that failed is asked again at once: there is no other
        dead_node_backoff_factor=0,
        max_dead_node_backoff=0,
        meta_header=False,
    )
