"""How a person restores a server's chain with the tools that come with every server."""

from __future__ import annotations

from collections.abc import Sequence

from db_backup.engines.mysql.chain.archive import Span
from db_backup.engines.mysql.flavour import Flavour
from db_backup.engines.stock import unpack_command
from db_backup.manifest import Part, ServerInfo, StockCommand

_FOLDER = "replay"
_LOAD = "--binary-mode --max-allowed-packet=1G --default-character-set=utf8mb4"


def full_commands(parts: Sequence[Part], source: ServerInfo | None) -> tuple[StockCommand, ...]:
    """Into a server that has none of these databases."""
    client, _ = _tools(source)
    return (
        StockCommand(
            description="Load every database into a new server, one without a binlog (--skip-log-bin "
            "--event-scheduler=OFF)",
            command=f"{unpack_command(parts)} | {client} {_LOAD} --comments",
        ),
    )


def increment_commands(
    parts: Sequence[Part], source: ServerInfo | None, spans: Sequence[Span]
) -> tuple[StockCommand, ...]:
    """Into the server that has the backups before it, each in its order.

    :param spans: what the increment holds; none where that is not known any more.
    """
    client, reader = _tools(source)
    first, last = (spans[0], spans[-1]) if spans else (None, None)
    limits = f"--start-position={first.start} --stop-position={last.end} " if first and last else ""
    files = " ".join(f"{_FOLDER}/{span.file}" for span in spans) if spans else f"{_FOLDER}/*"
    unpack = StockCommand(
        description="Unpack the binlog files: every event lies at its true offset",
        command=f"mkdir -p {_FOLDER} && {unpack_command(parts)} | tar --extract --directory={_FOLDER}",
    )
    if spans and not any(span.size for span in spans):
        return (unpack,)
    return (
        unpack,
        StockCommand(
            description="Replay them into the new server that has the backups before this one (a lower "
            "--stop-position ends at an earlier place; GRANT and DROP USER take the accounts that they name)",
            command=f"{reader} --no-defaults {limits}{files} | {client} {_LOAD} && rm -r {_FOLDER}",
        ),
    )


def _tools(source: ServerInfo | None) -> tuple[str, str]:
    mysql = source is not None and source.flavour == Flavour.MYSQL
    return ("mysql", "mysqlbinlog") if mysql else ("mariadb", "mariadb-binlog")
