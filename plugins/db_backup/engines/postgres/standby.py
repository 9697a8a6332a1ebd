"""A standby: how far it has replayed its primary's WAL, and what may go wrong with a dump of it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from db_backup.engines.postgres.session import Connection, rows, value

# Up to date while it streams and has replayed all that the primary said it had: as of the primary's last message.
# Without the right to see that (pg_read_all_stats), or behind: as of the last commit that was replayed; when there was
# none since the server started, as of that start.
_REPLAYED_UNTIL = """SELECT coalesce(
    (SELECT greatest(last_msg_send_time, pg_catalog.pg_last_xact_replay_timestamp())
        FROM pg_catalog.pg_stat_wal_receiver
        WHERE status = 'streaming' AND latest_end_lsn <= pg_catalog.pg_last_wal_replay_lsn()),
    pg_catalog.pg_last_xact_replay_timestamp(),
    pg_catalog.pg_postmaster_start_time())"""


def is_standby(connection: Connection) -> bool:
    return bool(value(connection, "SELECT pg_catalog.pg_is_in_recovery()"))


def replayed_until(connection: Connection) -> datetime:
    """What the primary had committed by then is here."""
    moment: datetime = value(connection, _REPLAYED_UNTIL)
    return moment.astimezone(UTC)


def warnings(connection: Connection) -> Iterator[str]:
    """What a person should know who dumps this standby."""
    if not rows(connection, "SELECT FROM pg_catalog.pg_stat_wal_receiver"):
        yield (
            "The standby does not receive anything from its primary now: the backup is as old as "
            f"{replayed_until(connection):%Y-%m-%d %H:%M:%S} UTC."
        )
    delay, feedback = rows(
        connection,
        "SELECT pg_catalog.current_setting('max_standby_streaming_delay'), "
        "pg_catalog.current_setting('hot_standby_feedback')",
    )[0]
    if feedback == "off" and delay != "-1":
        yield (
            f"The standby cancels a dump that holds up replication for {delay} (max_standby_streaming_delay), and the "
            "backup then fails; hot_standby_feedback = on avoids most of it."
        )
