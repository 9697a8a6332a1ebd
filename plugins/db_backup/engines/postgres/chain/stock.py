"""How a person rebuilds the server with what PostgreSQL and GNU/Linux bring along."""

from __future__ import annotations

from collections.abc import Sequence

from db_backup.engines.postgres.chain.base_tar import WAL_FOLDER
from db_backup.engines.postgres.chain.pieces import FORMAT as PIECES_FORMAT
from db_backup.engines.stock import unpack_command
from db_backup.manifest import Part, StockCommand

_FOLDER = "restored"
# Each piece goes to its place in its segment, whose name and whose byte (hexadecimal) are the member's. The server
# passes over segments that are shorter than the others: of these, the full holds at least one.
_PLACE = (
    f'file="{_FOLDER}/{WAL_FOLDER}/${{TAR_FILENAME%.*}}"; '
    'dd of="$file" seek="$((0x${TAR_FILENAME#*.}))" oflag=seek_bytes conv=notrunc bs=1M iflag=fullblock status=none; '
    f'set -- {_FOLDER}/{WAL_FOLDER}/{"?" * 24}; truncate --reference="$1" "$file"'
)


def stock_commands(parts: Sequence[Part], format: str) -> tuple[StockCommand, ...]:
    """Of a full: a data folder that starts as it is. Of an increment: its WAL into that folder."""
    if format == PIECES_FORMAT:
        return (
            StockCommand(
                description="Before the server is started: put the WAL into the folder made of the full, after that of "
                "the increments before this one",
                command=f"{unpack_command(parts)} | tar --extract --to-command='{_PLACE}'",
            ),
        )
    return (
        StockCommand(
            description="Unpack the cluster into a new data folder",
            command=f"mkdir --mode=0700 {_FOLDER} && {unpack_command(parts)} | tar --extract --directory={_FOLDER}",
        ),
        StockCommand(
            description="Have the server replay the WAL that lies in the folder; to stop at a moment, add "
            "recovery_target_time = '2026-01-31 14:05:00+00' and recovery_target_action = 'promote' in the same way",
            command=f"touch {_FOLDER}/recovery.signal && "
            f"echo \"restore_command = 'false'\" >> {_FOLDER}/postgresql.auto.conf",
        ),
        StockCommand(
            description="When the increments are in their place: as the user postgres, start the server of the same "
            "major version; where the configuration lay elsewhere, as on Debian, copy it into the folder first",
            command=f"pg_ctl --pgdata={_FOLDER} start",
        ),
    )
