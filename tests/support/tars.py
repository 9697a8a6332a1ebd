"""Tars in memory: taken apart by Python's own reader, and put together as pg_dump writes them."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping

from db_backup.engines.postgres.tar_members import END_OF_TAR, header, padding


def tar_members(plain: bytes) -> dict[str, bytes]:
    """What a tar holds, by name and in its order."""
    members = {}
    with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
        for member in tar:
            content = tar.extractfile(member)
            assert content is not None
            members[member.name] = content.read()
    return members


def tar_of(members: Mapping[str, bytes]) -> bytes:
    """A tar as pg_dump would write it."""
    pieces = [
        piece
        for name, content in members.items()
        for piece in (header(name, len(content)), content, padding(len(content)))
    ]
    return b"".join((*pieces, END_OF_TAR))
