"""The two sidecars of a backup: the immutable manifest and the rewritable state (DESIGN, "Manifest and state").

Both are JSON. Unknown fields are kept, so that an older program never loses what a newer one wrote; a newer major
version is refused. Times are UTC, sizes are bytes, durations are seconds.
"""

from db_backup.manifest.manifest import (
    MANIFEST_VERSION,
    Chain,
    Cipher,
    Consistency,
    DatabaseObject,
    Inventory,
    Manifest,
    Part,
    RunInfo,
    ServerInfo,
    StockCommand,
    TableInventory,
    ToolInfo,
    by_stream,
)
from db_backup.manifest.state import STATE_VERSION, Copy, Difference, Proof, State, Tombstone, WrappedKey

__all__ = [
    "by_stream",
    "Chain",
    "Cipher",
    "Consistency",
    "Copy",
    "DatabaseObject",
    "Difference",
    "Inventory",
    "Manifest",
    "MANIFEST_VERSION",
    "Part",
    "Proof",
    "RunInfo",
    "ServerInfo",
    "State",
    "STATE_VERSION",
    "StockCommand",
    "TableInventory",
    "Tombstone",
    "ToolInfo",
    "WrappedKey",
]
