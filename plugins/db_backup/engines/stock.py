"""What the stock commands of all engines share."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from db_backup import naming
from db_backup.manifest import Part, StockCommand
from db_backup.model import Compression

#: Needs Python and Tink alone: scripts/decrypt_backup.py of this project.
DECRYPT_SCRIPT = "decrypt_backup.py"

_TOOLS = {
    Compression.GZIP: "gunzip -c",
    Compression.BZIP2: "bzip2 -dc",
    Compression.ZSTD: "zstd -dc",
    Compression.LZ4: "lz4 -dcm",  # without m a second file would be the name of its output
    Compression.XZ: "xz -dc",
    Compression.NONE: "cat",
}


def unpack_command(parts: Sequence[Part]) -> str:
    """A shell command that writes the plain bytes of the parts, in order, to its standard output."""
    return " ".join([_TOOLS[parts[0].compression], *(shlex.quote(part.path) for part in parts)])


def decrypt_commands(parts: Sequence[Part]) -> tuple[tuple[StockCommand, ...], tuple[Part, ...]]:
    """What makes files of the encrypted parts that the other commands read; and the parts as they are then."""
    commands = []
    decrypted = []
    for part in parts:
        if part.cipher is None:
            decrypted.append(part)
            continue
        plain = naming.unencrypted_name(part.path)
        state = f"../{naming.state_key(naming.backup_id_of_file(part.path))}"
        commands.append(
            StockCommand(
                description=f"With {DECRYPT_SCRIPT} at hand, and the key for KEY.json: decrypt {part.path}",
                command=f"(umask 077 && python3 {DECRYPT_SCRIPT} --key KEY.json --state {shlex.quote(state)} "
                f"{shlex.quote(part.path)} > {shlex.quote(f'{plain}.partial')}) && "
                f"mv {shlex.quote(f'{plain}.partial')} {shlex.quote(plain)}",
            )
        )
        decrypted.append(part.model_copy(update={"path": plain, "cipher": None}))
    return tuple(commands), tuple(decrypted)
