"""Where requests may be addressed to, and from which sites: what keeps web pages out."""

from __future__ import annotations

from collections.abc import Collection

from starlette.responses import Response

from neo_polystore.api.responses import problem_response

_UNCHANGING = ("GET", "HEAD", "OPTIONS")


class Addressed:
    """`hosts` are the names that requests may be addressed to (RFC 9110, 7.2), none: any. They keep
    a web page from reaching a server on its reader's own machine by a name of its own.
    `cross_site` says whether a request that a browser marks as another site's may change
    something: where no token is asked for, nothing else would keep that page from it. `origins`
    may all the same."""

    def __init__(
        self,
        *,
        hosts: Collection[str] = (),
        cross_site: bool = True,
        origins: Collection[str] = (),
    ):
        self._hosts = frozenset(host.lower() for host in hosts)
        self._cross_site = cross_site
        self._origins = frozenset(origins)

    def refusal(self, method: str, path: str, given: dict[bytes, bytes]) -> Response | None:
        """421 or 403 as a problem document, by these headers; None where the request may go on."""
        host = given.get(b"host", b"").decode("latin-1")
        if self._hosts and _name(host) not in self._hosts:
            return problem_response(
                status=421,
                title="Misdirected Request",
                detail="this server does not go by that name",
                instance=path,
            )
        if self._cross_site or method in _UNCHANGING:
            return None
        origin = given.get(b"origin", b"").decode("latin-1")
        foreign = given.get(b"sec-fetch-site") == b"cross-site" or (
            origin and origin.partition("://")[2] != host
        )
        if not foreign or origin in self._origins:
            return None
        return problem_response(
            status=403,
            title="Forbidden",
            detail="a page of another site may not change anything here",
            instance=path,
        )


def _name(host: str) -> str:
    """The host without its port, in lower case; an IPv6 address keeps its brackets."""
    if host.startswith("["):
        return host.partition("]")[0].lower() + "]"
    return host.partition(":")[0].lower()
