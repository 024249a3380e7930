"""What it takes to work behind a pooler in transaction mode, such as PgBouncer.

Such a pooler lends a server connection for the length of a transaction. Nothing may be left on
that connection then: no session setting, no session lock, no temporary table, no prepared
statement with a name. The first three are nowhere in this package but on connections of the
owner's, which go around the pooler. For the last there is an option of asyncpg, with which every
execution parses its statement again, in the same message.
"""

from __future__ import annotations

from typing import Any, Final

ARGUMENTS: Final[dict[str, Any]] = {"statement_cache_size": 0}
"""More of asyncpg's connect arguments."""
