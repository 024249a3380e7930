"""What may be asked of the audit trail, in the words of whoever asks."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from neo_polystore.audit.trail import Action
from neo_polystore.records.query import MAX_LIMIT, Query, parse_time


class AuditSearch(BaseModel):
    """Entries that satisfy everything that is given, newest first."""

    model_config = ConfigDict(extra="forbid")

    actor: str | None = Field(None, description="who did it")
    action: Action | None = None
    resource: str | None = Field(None, description="what it was done to")
    resource_id: str | None = None
    service: str | None = None
    request_id: str | None = None
    success: bool | None = None
    since: str | None = Field(None, description="ISO 8601 time, or an age such as `24h`")
    until: str | None = Field(None, description="ISO 8601 time or age, exclusive")
    text: str | None = Field(None, description="words that are all in the resource's name")
    limit: int = Field(100, ge=1, le=MAX_LIMIT)
    after: str | None = Field(None, description="`next` of the page before")
    oldest_first: bool = False

    def query(self, *, limit: int | None = None) -> Query:
        """The typed query; raises UsageError for a time that cannot be read."""
        query = Query(
            since=parse_time(self.since) if self.since else None,
            until=parse_time(self.until) if self.until else None,
            text=self.text,
            order="timestamp",
            descending=not self.oldest_first,
            limit=limit or self.limit,
            after=self.after,
        )
        wanted = {
            "user_id": self.actor,
            "action": self.action,
            "resource": self.resource,
            "resource_id": self.resource_id,
            "service": self.service,
            "request_id": self.request_id,
            "success": self.success,
        }
        for name, value in wanted.items():
            if value is not None:
                query = query.where(name, value)
        return query
