"""A dump that is loaded under another name: what changes, and what must not."""

from __future__ import annotations

import pytest

from db_backup.engines.mysql.dump_splitter import DumpSplitter
from db_backup.engines.mysql.renaming import Renaming

pytestmark = pytest.mark.unit


def renamed(text: bytes, source: str = "shop", target: str = "copy") -> tuple[bytes, list[str]]:
    renaming, splitter = Renaming(source, target), DumpSplitter()
    changed = b"".join(renaming.apply(piece) for piece in splitter.feed(text))
    return changed + splitter.rest, renaming.warnings


def test_a_default_draws_from_the_copys_sequence() -> None:
    table = b"CREATE TABLE `t` (\n  `a` int DEFAULT nextval(`shop`.`s`) COMMENT '`shop`.`s`',\n  `shop` int\n);\n"
    changed, _ = renamed(table)
    assert changed == table.replace(b"nextval(`shop`.", b"nextval(`copy`.")


def test_a_foreign_key_to_another_database_stays() -> None:
    table = b"CREATE TABLE `t` (\n  FOREIGN KEY (`a`) REFERENCES `shops`.`s` (`id`)\n);\n"
    assert renamed(table) == (table, [])


def test_a_view_uses_the_copys_tables_and_functions() -> None:
    view = (
        b"/*!50001 CREATE ALGORITHM=UNDEFINED */\n/*!50013 DEFINER=`shop`@`%` SQL SECURITY DEFINER */\n"
        b"/*!50001 VIEW `v` AS select `shop`.`f`(1) AS `x`,'`shop`.`f`' AS `y`,`o`.`a` AS `a` "
        b"from (`shop`.`t` join `other`.`o`) */;\n"
    )
    changed, _ = renamed(view)
    assert changed == view.replace(b"select `shop`", b"select `copy`").replace(b"(`shop`.`t`", b"(`copy`.`t`")


@pytest.mark.parametrize("head", [b"`shop`.`tr` AFTER INSERT ON `shop`.`t`", b"shop . tr  after insert on shop.t"])
def test_a_trigger_goes_where_it_is_loaded_and_its_body_stays(head: bytes) -> None:
    trigger = (
        b"DELIMITER ;;\n/*!50003 CREATE*/ /*!50017 DEFINER=`a`@`%`*/ /*!50003 TRIGGER "
        + head
        + b" FOR EACH ROW INSERT INTO `shop`.`log` VALUES (1) */;;\nDELIMITER ;\n"
    )
    changed, warnings = renamed(trigger)
    assert b"TRIGGER `tr` AFTER INSERT ON `t` FOR" in changed or b"TRIGGER tr  after insert on t FOR" in changed
    assert b"INSERT INTO `shop`.`log`" in changed
    assert "trigger 'tr' names the database 'shop'" in warnings[0]


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (b"trigger /* c */ shop.tr before insert on shop.t", b"trigger /* c */ tr before insert on t"),
        (
            b"Trigger -- c\n `shop` . tr After /* x */ Delete on shop.`t`",
            b"Trigger -- c\n tr After /* x */ Delete on `t`",
        ),
        (b"trigger if not exists shop.`tr`before update on t", b"trigger if not exists `tr`before update on t"),
    ],
)
def test_a_trigger_goes_where_it_is_loaded_however_it_was_typed(typed: bytes, expected: bytes) -> None:
    frame = b"DELIMITER ;;\n/*!50003 CREATE*/ /*!50017 DEFINER=`a`@`%%`*/ /*!50003 %s for each row begin end */;;\n"
    assert renamed(frame % typed) == (frame % expected, [])


def test_data_is_never_rewritten() -> None:
    rows = b"INSERT INTO `t` VALUES\n('nextval(`shop`.`s`)'),\n('CREATE TABLE `shop`.`x`');\n"
    assert renamed(rows) == (rows, [])


def test_nothing_changes_under_the_same_name() -> None:
    table = b"CREATE TABLE `t` (\n  `a` int DEFAULT nextval(`shop`.`s`)\n);\n"
    assert renamed(table, target="shop") == (table, [])
