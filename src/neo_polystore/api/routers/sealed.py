"""Sealed items over HTTP: of the tenant's users, and of the calling service."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from neo_polystore.api.dependencies import CurrentPolystore, CurrentPrincipal
from neo_polystore.api.responses import Problem, json_response, keyed_page
from neo_polystore.auth.principal import Principal
from neo_polystore.errors import ForbiddenError, TenantRequiredError, UsageError
from neo_polystore.ids import SYSTEM_USER
from neo_polystore.records.base import Blob
from neo_polystore.records.sealed import Policy
from neo_polystore.records.sealing import Identity, Opener
from neo_polystore.sealing.drafts import Draft
from neo_polystore.sealing.items import OwnItems

router = APIRouter(prefix="/api/sealed", tags=["sealed"])

_PROBLEMS: dict[int | str, dict[str, Any]] = {
    403: {"model": Problem, "description": "Sealed for somebody else."},
    404: {"model": Problem},
    409: {"model": Problem, "description": "Another version is stored."},
    500: {"model": Problem, "description": "Altered, rolled back, or the key is destroyed."},
}

_BYTES = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}

User = Annotated[
    UUID | None, Query(description="the owner; by default who calls, or the system's user")
]
Service = Annotated[str | None, Query(description="the owner is this service, which calls")]


class NewItem(BaseModel):
    """What to seal, and for whom it opens."""

    model_config = ConfigDict(extra="forbid")

    data_key: str = Field(min_length=1, max_length=200, examples=["wallet/seed"])
    content: Blob = Field(repr=False, description="base64")
    identity: Identity
    enclave: str = Field("", max_length=255)
    policy_name: str = Field("", max_length=100, description="a named sealing policy")
    expected: int | None = Field(None, ge=0, description="version that is stored; 0: none")
    attestation: UUID | None = None
    expires_at: datetime | None = Field(None, description="of a service's item")


class Sealed(BaseModel):
    """For whom content opens that comes as a body of its own; as in `NewItem`."""

    model_config = ConfigDict(extra="forbid")

    data_key: str = Field(min_length=1, max_length=200)
    policy: Policy = "USER_DEFINED"
    measurement: str | None = Field(None, description="MRENCLAVE or MRSIGNER, 64 hex digits")
    product_id: int | None = None
    svn_floor: int | None = None
    label: str | None = None
    enclave: str = Field("", max_length=255)
    policy_name: str = Field("", max_length=100)
    expected: int | None = Field(None, ge=0)
    attestation: UUID | None = None
    expires_at: datetime | None = None
    user: User = None
    service: Service = None

    def draft(self) -> Draft:
        """What is to be sealed, without its content."""
        own = {"data_key", "enclave", "policy_name", "expected", "attestation", "expires_at"}
        identity = Identity.of(**self.model_dump(exclude=own | {"user", "service"}))
        return Draft(content=b"", identity=identity, **self.model_dump(include=own))


class Opening(BaseModel):
    """Which item, and as whom."""

    model_config = ConfigDict(extra="forbid")

    data_key: str
    opener: Opener


class Resealing(Opening):
    """For whom it is sealed from now on, where that changes."""

    measurement: str | None = None
    svn_floor: int | None = None
    label: str | None = None

    def changes(self) -> dict[str, Any]:
        """Those that are named."""
        return self.model_dump(include={"measurement", "svn_floor", "label"}, exclude_none=True)


class Deletion(BaseModel):
    """Which item, in which version."""

    model_config = ConfigDict(extra="forbid")

    data_key: str
    expected: int | None = Field(None, ge=1)


def _items(
    polystore: CurrentPolystore,
    caller: CurrentPrincipal,
    user: User = None,
    service: Service = None,
) -> OwnItems:
    """A service names none but itself, a user none but himself unless he is the administrator.

    On loopback nobody asks who calls: see `auth.principal`.
    """
    scope, own = caller.scope, _user(caller)
    if service is not None:
        only_itself(caller, service)
        return polystore.sealing.of_service(service, actor=scope.user)
    if scope.tenant is None:
        raise TenantRequiredError("a user's items belong to a tenant and this call has none")
    owner = user or own or (None if caller.is_proven else SYSTEM_USER)
    if owner is None:
        raise UsageError("say whose items: user=... or service=...")
    if caller.is_proven and owner != own and "admin" not in caller.roles:
        raise ForbiddenError("the sealed items of a user are for that user only")
    return polystore.sealing.of_user(scope.tenant, owner, actor=scope.user)


def only_itself(caller: Principal, service: str) -> None:
    """ForbiddenError where it is another service that calls, or none."""
    if caller.is_proven and caller.scope.service != service:
        raise ForbiddenError("the sealed items of a service are for that service only")


def _user(caller: Principal) -> UUID | None:
    try:
        return UUID(caller.scope.user or "")
    except ValueError:
        return None


Own = Annotated[OwnItems, Depends(_items)]
SealedQuery = Annotated[Sealed, Query()]


@router.post("/items", status_code=201, summary="Seal", responses=_PROBLEMS)
async def seal(item: NewItem, own: Own) -> Response:
    """Durable when it answers; `version` counts the writes of this key."""
    fields = {name: getattr(item, name) for name in type(item).model_fields}
    return json_response((await own.seal(Draft(**fields))).as_dict(), 201)


@router.put(
    "/content",
    status_code=201,
    summary="Seal what the body holds",
    responses=_PROBLEMS,
    openapi_extra=_BYTES,
)
async def seal_content(request: Request, own: Own, sealed: SealedQuery) -> Response:
    """Of any size up to NEO_SEALED_MAX_BYTES, sealed as it comes and never held as a whole."""
    head = await own.seal_parts(sealed.draft(), request.stream())
    return json_response(head.as_dict(), 201)


@router.post("/open", summary="Open", responses=_PROBLEMS)
async def open_item(opening: Opening, own: Own) -> Response:
    """The content as bytes, part by part; it is whole if it has its `Content-Length`.

    Whatever is asked for is audited, and what is refused too.
    """
    opened = await own.open_parts(opening.data_key, opening.opener)
    headers = {
        "ETag": f'"{opened.head.binding.version}"',
        "Cache-Control": "no-store",
        "Content-Length": str(opened.head.size),
    }
    return StreamingResponse(opened.parts, media_type="application/octet-stream", headers=headers)


@router.post("/reseal", summary="Open and seal again", responses=_PROBLEMS)
async def reseal(resealing: Resealing, own: Own) -> Response:
    """As the next version: for a new release of an enclave, or with a higher SVN floor."""
    head = await own.reseal_for(resealing.data_key, resealing.opener, **resealing.changes())
    return json_response(head.as_dict())


@router.get("/items", summary="List", responses=_PROBLEMS)
async def list_items(
    own: Own,
    prefix: str = "",
    after: Annotated[str, Query(description="from behind this key")] = "",
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Response:
    """In the order of their keys, without content."""
    heads = await own.heads(prefix=prefix, after=after, limit=limit)
    return keyed_page("items", [head.as_dict() for head in heads], limit)


@router.post("/delete", status_code=204, summary="Delete", responses=_PROBLEMS)
async def delete(deletion: Deletion, own: Own) -> Response:
    """The version goes on if the key is used again."""
    await own.delete(deletion.data_key, expected=deletion.expected)
    return Response(status_code=204)


@router.get("/policies", summary="Named sealing policies")
async def policies(polystore: CurrentPolystore) -> Response:
    """What holds for items that are sealed under their names."""
    found = await polystore.sealing.policies()
    return json_response({"policies": [policy.model_dump(mode="json") for policy in found]})


survey_router = APIRouter(prefix="/api/admin/sealed", tags=["admin"])


@survey_router.get("/inventory", summary="All items by master key, policy and SVN")
async def inventory(polystore: CurrentPolystore) -> Response:
    """Of all owners, how many and since when; names no item."""
    found = [asdict(one) for one in await polystore.sealing.survey()]
    return json_response({"inventory": found})
