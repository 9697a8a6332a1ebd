"""What SHOW GRANTS means for one database."""

from __future__ import annotations

import pytest

from db_backup.engines.mysql.flavour import Flavour
from db_backup.engines.mysql.privileges import parse_grants

pytestmark = pytest.mark.unit


def holds(grant: str, privilege: str = "SELECT", database: str = "my_shop") -> bool:
    return parse_grants([grant], database).holds(privilege)


@pytest.mark.parametrize(
    "grant",
    [
        "GRANT SELECT ON *.* TO `u`@`%`",
        "GRANT ALL PRIVILEGES ON *.* TO `u`@`%` WITH GRANT OPTION",
        "GRANT INSERT, SELECT ON `my_shop`.* TO `u`@`%`",
        "GRANT SELECT ON `my\\_shop`.* TO `u`@`%`",
        "GRANT SELECT ON `my%`.* TO `u`@`%`",
        'GRANT ALL PRIVILEGES ON "my_shop".* TO "u"@"%"',
    ],
)
def test_these_cover_the_database(grant: str) -> None:
    assert holds(grant)


@pytest.mark.parametrize(
    "grant",
    [
        "GRANT USAGE ON *.* TO `u`@`%` IDENTIFIED BY PASSWORD '*X'",
        "GRANT SELECT ON `other`.* TO `u`@`%`",
        "GRANT SELECT ON `my_shop`.`orders` TO `u`@`%`",
        "GRANT SELECT (`a`), INSERT ON `my_shop`.`orders` TO `u`@`%`",
        "GRANT SELECT ON `my\\_sho`.* TO `u`@`%`",
        "GRANT `role` TO `u`@`%`",
        "GRANT EXECUTE ON PROCEDURE `my_shop`.`p` TO `u`@`%`",
    ],
)
def test_these_do_not(grant: str) -> None:
    assert not holds(grant)


def test_an_escaped_underscore_is_no_wildcard() -> None:
    assert holds("GRANT SELECT ON `my_shop`.* TO `u`@`%`", database="myXshop")
    assert not holds("GRANT SELECT ON `my\\_shop`.* TO `u`@`%`", database="myXshop")


def test_a_backtick_in_the_name_is_read() -> None:
    assert holds("GRANT SELECT ON `a``b`.* TO `u`@`%`", database="a`b")


def test_a_partial_revoke_of_mysql_counts() -> None:
    grants = ["GRANT SELECT, TRIGGER ON *.* TO `u`@`%`", "REVOKE SELECT ON `my_shop`.* FROM `u`@`%`"]
    assert not parse_grants(grants, "my_shop").holds("SELECT")
    assert parse_grants(grants, "my_shop").holds("TRIGGER")
    assert parse_grants(grants, "other").holds("SELECT")


@pytest.mark.parametrize(
    ("grant", "flavour", "version", "sees"),
    [
        ("GRANT SELECT ON *.* TO u", Flavour.MARIADB, (10, 11, 6), True),
        ("GRANT SELECT ON `mysql`.`proc` TO u", Flavour.MARIADB, (10, 11, 6), True),
        ("GRANT SELECT ON `mysql`.* TO u", Flavour.MARIADB, (10, 11, 6), True),
        ("GRANT ALL PRIVILEGES ON `my_shop`.* TO u", Flavour.MARIADB, (10, 11, 6), False),
        ("GRANT SHOW CREATE ROUTINE ON `my_shop`.* TO u", Flavour.MARIADB, (11, 4, 2), True),
        ("GRANT SHOW CREATE ROUTINE ON `my_shop`.* TO u", Flavour.MARIADB, (10, 11, 6), False),
        ("GRANT SHOW_ROUTINE ON *.* TO u", Flavour.MYSQL, (8, 0, 36), True),
        ("GRANT SELECT ON `my_shop`.* TO u", Flavour.MYSQL, (8, 0, 36), False),
        ("GRANT SELECT ON `mysql`.`proc` TO u", Flavour.MYSQL, (5, 7, 44), True),
    ],
)
def test_who_sees_all_routines(grant: str, flavour: Flavour, version: tuple[int, int, int], sees: bool) -> None:
    assert parse_grants([grant], "my_shop").sees_all_routines(flavour, version) is sees
