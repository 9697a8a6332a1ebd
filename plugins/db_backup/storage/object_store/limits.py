"""How large, how long, how often: what a client of an object storage may take."""

from __future__ import annotations

from dataclasses import dataclass

_KEPT_BACK = 0.9  # of the provider's number of parts: obstore fails at the part after the last


@dataclass(frozen=True)
class Limits:
    """The defaults suit the providers' own limits; tests take smaller ones.

    ``part_bytes``: one part of an upload; S3 takes none under 5 MiB, but as the last. ``parts_in_flight``: how many
    are on their way at once, each in memory. ``max_parts``: of one object, as the provider has it.
    ``request_seconds``: one request with its answer. ``silence_seconds``: without a byte of an answer; not of uploads
    in parts, whose requests may be long on their way. ``retries``: after a failure that may pass, the first one after
    ``pause_seconds``, each next later, none after ``give_up_seconds``. ``requests_at_once``: where many small objects
    are read. ``identity_seconds``: how long what was read of ``.storage-id`` is believed by what only reads, as long
    as it finds what it looks for.
    """

    part_bytes: int = 5 << 20
    parts_in_flight: int = 4
    max_parts: int = 10_000
    connect_seconds: float = 10
    request_seconds: float = 600
    silence_seconds: float = 60
    retries: int = 6
    pause_seconds: float = 0.2
    give_up_seconds: float = 120
    requests_at_once: int = 16
    identity_seconds: float = 30

    @property
    def max_object_bytes(self) -> int:
        return max(1, int(self.max_parts * _KEPT_BACK)) * self.part_bytes
