"""How long properties are tried: the same examples on every machine, so that a red run can be repeated anywhere.

Not so long that a slow machine fails one: neither an example nor what makes them has a limit of time.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings

_EVERYWHERE = settings(
    deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)


def settle() -> None:
    """What holds for every property of the suite, unless it says otherwise itself."""
    settings.register_profile("suite", _EVERYWHERE)
    settings.load_profile("suite")


def examples(number: int) -> settings:
    """A decorator for a property, over so many histories."""
    return settings(_EVERYWHERE, max_examples=number)
