"""Keys: which names a storage takes."""

from __future__ import annotations


def split_key(key: str) -> tuple[str, ...]:
    """The segments of a key, the object's own name last.

    :raises ValueError: not a key (see ``storage.base``).
    """
    segments = tuple(key.split("/"))
    if any(not segment or segment.startswith(".") for segment in segments):
        raise ValueError(f"{key!r} is not a storage key: a segment is empty or begins with a dot.")
    if not key.isprintable() or "\\" in key:
        raise ValueError(f"{key!r} is not a storage key: it holds a backslash or a character that does not print.")
    return segments
