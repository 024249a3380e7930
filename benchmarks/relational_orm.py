"""`relational`, the peer: the same two tables through SQLAlchemy's ORM."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

from sqlalchemy import DateTime, ForeignKeyConstraint, Numeric, UniqueConstraint
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from benchmarks.relational_bench import POOL, Bench
from neo_polystore.ids import uuid7
from neo_polystore.records.transactions import Transaction


class _Base(DeclarativeBase):
    pass


class _Key(_Base):
    __tablename__ = "transaction_keys"
    __table_args__ = (
        UniqueConstraint("transaction_id", "created_at", "network_id", "transaction_hash"),
        {"schema": "blockchain"},
    )
    network_id: Mapped[UUID] = mapped_column(primary_key=True)
    transaction_hash: Mapped[str] = mapped_column(primary_key=True)
    transaction_id: Mapped[UUID]
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class _Row(_Base):
    __tablename__ = "transactions"
    __table_args__ = (
        ForeignKeyConstraint(
            ["id", "created_at", "network_id", "transaction_hash"],
            [
                _Key.transaction_id,
                _Key.created_at,
                _Key.network_id,
                _Key.transaction_hash,
            ],
        ),
        {"schema": "blockchain"},
    )
    id: Mapped[UUID] = mapped_column(primary_key=True)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), primary_key=True)
    network_id: Mapped[UUID]
    transaction_hash: Mapped[str]
    from_address: Mapped[str]
    to_address: Mapped[str | None]
    value: Mapped[Decimal] = mapped_column(Numeric(78, 0))
    status: Mapped[str]


class Orm:
    """Adds and commits one transaction at a time."""

    def __init__(self, bench: Bench, sessions: async_sessionmaker[AsyncSession]):
        self._network = bench.network
        self._sessions = sessions

    async def write(self, record: Transaction) -> None:
        """Add the key and the transaction, commit."""
        identity = uuid7()
        created = datetime.now(UTC)
        names = {"network_id": self._network, "transaction_hash": record.hash}
        async with self._sessions() as session:
            session.add(_Key(transaction_id=identity, created_at=created, **names))
            session.add(
                _Row(
                    id=identity,
                    created_at=created,
                    **names,
                    from_address=record.from_address,
                    to_address=record.to_address,
                    value=Decimal(record.value),
                    status=record.status,
                )
            )
            await session.commit()


@asynccontextmanager
async def open_orm(bench: Bench) -> AsyncIterator[Orm]:
    """The ORM over a pool as large as the driver's."""
    engine = create_async_engine(
        URL.create("postgresql+asyncpg"),
        connect_args=bench.config.connect_arguments(),
        pool_size=POOL,
        max_overflow=0,
        pool_timeout=600,
    )
    try:
        yield Orm(bench, async_sessionmaker(engine, expire_on_commit=False))
    finally:
        await engine.dispose()
