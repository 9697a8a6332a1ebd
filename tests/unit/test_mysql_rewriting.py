"""What of a dump of MySQL or MariaDB is loaded when, and under which names."""

from __future__ import annotations

import pytest

from db_backup.engines.mysql.databases import LONGEST_NAME, is_replacement, replaced_name, replacement_name
from db_backup.engines.mysql.dump_parser import DumpParser, trigger_table
from db_backup.engines.mysql.events import is_enabled, waiting, woken
from db_backup.engines.mysql.renaming import Renaming
from db_backup.engines.mysql.rewriting import Rewriting
from db_backup.engines.mysql.selection import Selection

pytestmark = pytest.mark.unit

HEAD = b"/*M!999999\\- enable the sandbox mode */ \n-- Host: h    Database: shop\n/*!40101 SET NAMES utf8mb4 */;\n"
TABLES = b"""DROP SEQUENCE IF EXISTS `s`;
CREATE SEQUENCE `s` start with 1 minvalue 1 maxvalue 9 increment by 1 cache 10 nocycle ENGINE=InnoDB;
DO SETVAL(`s`, 5, 0);
CREATE SEQUENCE `unused` start with 1 minvalue 1 maxvalue 9 increment by 1 cache 10 nocycle ENGINE=InnoDB;
DROP TABLE IF EXISTS `a`;
CREATE TABLE `a` (
  `id` int DEFAULT nextval(`shop`.`s`)
);
INSERT INTO `a` VALUES
(1),
(2);
DELIMITER ;;
/*!50003 CREATE*/ /*!50017 DEFINER=`x`@`y`*/ /*!50003 TRIGGER on_a before insert on shop . a
for each row set @a = 1 */;;
DELIMITER ;
DROP TABLE IF EXISTS `b`;
CREATE TABLE `b` (
  `id` int
);
INSERT INTO `b` VALUES
(3);
DELIMITER ;;
/*!50003 CREATE*/ /*!50017 DEFINER=`x`@`y`*/ /*!50003 TRIGGER on_b after insert on `b`
for each row insert into a () */;;
DELIMITER ;
"""
EVENT = (
    b"/*!50106 CREATE*/ /*!50117 DEFINER=`x`@`y`*/ /*!50106 EVENT `e ON COMPLETION PRESERVE ENABLE` ON SCHEDULE EVERY "
    b"'1:1' HOUR_MINUTE STARTS '2026-01-01 00:00:00' ON COMPLETION NOT PRESERVE %s COMMENT "
    b"'ON COMPLETION PRESERVE ENABLE' DO SELECT 1 */ ;;\n"
)
EVENTS = b"/*!50106 SET @save_time_zone= @@TIME_ZONE */ ;\nDELIMITER ;;\n%sDELIMITER ;\n%s" % (
    EVENT % b"ENABLE",
    b"/*!50106 SET TIME_ZONE= @save_time_zone */ ;\n",
)
END = b"/*!50001 CREATE VIEW `v` AS SELECT 1 AS `x`*/;\n-- Dump completed on 2026-01-01 00:00:00\n"


def loaded(dump: bytes, target: str = "shop", selection: Selection | None = None) -> tuple[bytes, Rewriting]:
    parser = DumpParser()
    rewriting = Rewriting(target, parser, selection, keep_sandbox_line=False)
    pieces = b"".join(rewriting.apply(piece) for piece in parser.pieces(dump))
    return pieces + parser.finish() + rewriting.held_back(), rewriting


def test_events_are_made_after_everything_else() -> None:
    script, rewriting = loaded(HEAD + EVENTS + END)
    assert script.index(b"CREATE VIEW") < script.index(b"Dump completed") < script.index(EVENTS.strip())
    assert rewriting.active_events == 1


def test_events_of_a_database_that_is_not_in_its_place_wait() -> None:
    script, rewriting = loaded(HEAD + EVENTS + END, replacement_name("shop"))
    assert EVENT % b"DISABLE ON SLAVE" in script
    assert rewriting.active_events == 0


@pytest.mark.parametrize(
    ("status", "there", "in_the_end"),
    [
        (b"ENABLE", b"DISABLE ON SLAVE", b"ENABLE"),
        (b"DISABLE", b"DISABLE", b"DISABLE"),
        (b"DISABLE ON SLAVE", b"DISABLE", b"DISABLE"),
    ],
)
def test_an_event_that_waited_is_as_it_was(status: bytes, there: bytes, in_the_end: bytes) -> None:
    text, off_on_replica = waiting(EVENT % status)
    assert text == EVENT % there
    assert woken(text) == EVENT % in_the_end
    assert off_on_replica is (status == b"DISABLE ON SLAVE")
    assert is_enabled(woken(text)) is (status == b"ENABLE")


def test_a_chosen_table_comes_with_its_rows_its_trigger_and_its_sequence_alone() -> None:
    script, rewriting = loaded(HEAD + TABLES + EVENTS + END, selection=(selection := Selection(["a"])))
    assert rewriting.parser.complete
    for kept in (b"CREATE SEQUENCE `s`", b"SETVAL(`s`", b"CREATE TABLE `a`", b"(2);", b"TRIGGER on_a", b"SET NAMES"):
        assert kept in script
    assert script.index(b"CREATE SEQUENCE `s`") < script.index(b"SETVAL") < script.index(b"CREATE TABLE `a`")
    for left in (b"`unused`", b"`b`", b"(3)", b"on_b", b"EVENT", b"VIEW"):
        assert left not in script
    assert selection.sequences == {"s"}


def test_a_sequence_that_is_there_already_is_not_made_again() -> None:
    script, _ = loaded(HEAD + TABLES + END, selection=(selection := Selection(["a"], ["s"])))
    assert b"CREATE SEQUENCE" not in script
    assert (selection.sequences, selection.shared_sequences) == (set(), {"s"})


@pytest.mark.parametrize(
    ("statement", "table"),
    [
        (b"create trigger t before insert on `a``b` for each row begin end", "a`b"),
        (b"CREATE TRIGGER /* on x */ t AFTER /* c */ DELETE ON shop . orders FOR EACH ROW begin end", "orders"),
        (b"create procedure p() begin end", None),
    ],
)
def test_the_table_of_a_trigger_is_found(statement: bytes, table: str | None) -> None:
    assert trigger_table(statement) == table


def test_settings_of_the_source_become_those_of_the_copy() -> None:
    parser = DumpParser()
    (piece,) = (
        piece for piece in parser.pieces(b"ALTER DATABASE `shop` CHARACTER SET latin1 ;\n") if piece.text.strip()
    )
    assert Renaming("shop", "copy").apply(piece) == b"ALTER DATABASE `copy` CHARACTER SET latin1 ;"


def test_names_beside_a_database_are_no_longer_than_names_may_be() -> None:
    assert replacement_name("shop") == "shop__db_backup_restoring"
    long = [f"{'x' * (LONGEST_NAME - 1)}{end}" for end in "ab"]
    names = {function(name) for name in long for function in (replacement_name, replaced_name)}
    assert len(names) == 4
    assert max(map(len, names)) == LONGEST_NAME
    assert all(is_replacement(replacement_name(name)) for name in (*long, "shop"))
