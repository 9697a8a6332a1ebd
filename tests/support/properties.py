"""How long properties are tried: the same examples on every machine, so that a red run can be repeated anywhere."""

from __future__ import annotations

from hypothesis import settings


def examples(number: int) -> settings:
    """A decorator for a property, over so many histories."""
    return settings(max_examples=number, deadline=None, derandomize=True, database=None)
