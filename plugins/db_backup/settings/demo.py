"""The demo database, which stands in as long as nothing else is configured. ``make demo`` generates the file."""

from __future__ import annotations

from pathlib import Path

DEMO_ENTRY = "car_marketplace"
DEMO_CONN_ID = "car_marketplace_db"


def demo_database(root: Path) -> Path:
    """Where the demo's SQLite file lies, under the project's root."""
    return root / "include" / "demo" / "car_marketplace.sqlite"
