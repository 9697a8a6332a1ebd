"""BACKUP_TIMEOUT_SECONDS over the whole of a backup: connecting, waiting for locks, dumping, proving it complete."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from db_backup.errors import BackupError, PublishedUnindexed, TimeLimitExceeded
from db_backup.progress import Cancellation


@contextmanager
def time_limit(seconds: float, database: str, cancellation: Cancellation) -> Iterator[Cancellation]:
    """A cancellation of its own that follows the given one and is cancelled when the time is up.

    :raises TimeLimitExceeded: in place of whatever error the stop has led to.
    """
    limited = Cancellation()
    expired = threading.Event()

    def expire() -> None:
        expired.set()
        limited.cancel(f"BACKUP_TIMEOUT_SECONDS allows {seconds:g} s")

    timer = threading.Timer(seconds, expire)
    timer.daemon = True
    with cancellation.on_cancel(lambda: limited.cancel(cancellation.reason)):
        timer.start()
        try:
            yield limited
        except BackupError as error:
            if not expired.is_set() or isinstance(error, TimeLimitExceeded | PublishedUnindexed):
                raise
            raise TimeLimitExceeded(
                f"The backup of '{database}' was stopped after {seconds:g} s, which is all that "
                "BACKUP_TIMEOUT_SECONDS allows.",
                hint="Raise BACKUP_TIMEOUT_SECONDS, or find out what the server was waiting for.",
                database=database,
            ) from error
        finally:
            timer.cancel()
