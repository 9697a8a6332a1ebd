"""Names and ids: made and taken apart in one place."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db_backup import naming
from db_backup.errors import UnknownBackup
from db_backup.model import BackupType, Compression
from db_backup.naming import BackupName, PartNames, is_backup_id, parse_backup_id

pytestmark = pytest.mark.unit

MOMENT = datetime(2026, 1, 31, 3, 0, 0, tzinfo=UTC)
names = st.builds(
    BackupName,
    entry=st.from_regex(naming.ENTRY_NAME, fullmatch=True),
    type=st.sampled_from(BackupType),
    moment=st.datetimes(timezones=st.just(UTC))
    .filter(lambda at: at.year >= 1000)
    .map(lambda at: at.replace(microsecond=0)),
    serial=st.integers(min_value=1, max_value=500),
)


@given(names)
def test_a_name_is_read_back_as_it_was_written(name: BackupName) -> None:
    assert parse_backup_id(str(name)) == name


def test_an_id_shows_the_moment_in_utc() -> None:
    summer = timezone(timedelta(hours=2))

    name = BackupName("shop", BackupType.FULL, datetime(2026, 7, 1, 1, 0, 0, tzinfo=summer))

    assert str(name) == "backup_shop_full_2026-06-30_23-00-00"


def test_only_a_later_backup_of_one_second_bears_a_number() -> None:
    assert str(BackupName("shop", BackupType.FULL, MOMENT, serial=1)) == "backup_shop_full_2026-01-31_03-00-00"
    assert str(BackupName("shop", BackupType.FULL, MOMENT, serial=2)) == "backup_shop_full_2026-01-31_03-00-00-2"


def test_an_entry_may_look_like_a_type() -> None:
    name = parse_backup_id("backup_shop_full_data_2026-01-31_03-00-00")

    assert (name.entry, name.type) == ("shop_full", BackupType.DATA)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "shop",
        "backup_shop_full",
        "backup_shop_weekly_2026-01-31_03-00-00",
        "backup_Shop_full_2026-01-31_03-00-00",
        "backup_shop_full_2026-02-30_03-00-00",  # no such day
        "backup_shop_full_2026-01-31_03-00-00-1",  # would be a second name of the first
        "backup_shop_full_2026-01-31_03-00-00-02",
        "backup_shop_full_2026-01-31_03-00-00\n",
        "backup_shop_full_\uff12026-01-31_03-00-00",  # a digit, but not one of ASCII
        "backup_../../etc/passwd_full_2026-01-31_03-00-00",
    ],
)
def test_other_text_is_no_id(text: str) -> None:
    with pytest.raises(UnknownBackup, match="not a backup id"):
        parse_backup_id(text)


def test_a_trailing_newline_makes_no_id() -> None:
    assert is_backup_id("backup_shop_full_2026-01-31_03-00-00")
    assert not is_backup_id("backup_shop_full_2026-01-31_03-00-00\n")


@pytest.mark.parametrize("compression", Compression)
def test_every_file_of_a_backup_leads_back_to_its_id(compression: Compression) -> None:
    backup_id = str(BackupName("shop", BackupType.FULL, MOMENT))
    files = [
        *(PartNames(backup_id, ("dump",), compression, encrypted).name(1) for encrypted in (False, True)),
        *(
            PartNames(backup_id, ("sql", "sql"), compression).name(stream, piece)
            for stream in (1, 2)
            for piece in (1, 2)
        ),
        naming.manifest_key(backup_id).rpartition("/")[2],
        naming.state_key(backup_id).rpartition("/")[2],
    ]

    assert {naming.backup_id_of_file(name) for name in files} == {backup_id}


@pytest.mark.parametrize("encrypted", [False, True])
@pytest.mark.parametrize("compression", Compression, ids=str)
def test_parts_sort_in_the_order_of_loading_and_never_share_a_name(compression: Compression, encrypted: bool) -> None:
    backup_id = str(BackupName("shop", BackupType.FULL, MOMENT))
    for suffixes in (("sql",), ("sql", "sql", "sql")):
        names = PartNames(backup_id, suffixes, compression, encrypted)
        in_order = [names.name(stream, piece) for stream in range(1, len(suffixes) + 1) for piece in range(1, 12)]
        assert in_order == sorted(set(in_order))
        for name in in_order:
            assert name.endswith(f"{naming.CODEC_SUFFIX[compression]}{'.enc' if encrypted else ''}")
            assert f"{naming.plain_name(name, compression)}{naming.CODEC_SUFFIX[compression]}" == (
                naming.unencrypted_name(name)
            )
