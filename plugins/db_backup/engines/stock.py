"""What the stock commands of all engines share."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from db_backup.manifest import Part
from db_backup.model import Compression

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
