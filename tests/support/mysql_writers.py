"""Three sessions that write to a MariaDB server at the same time, in every way that its binlog knows."""

from __future__ import annotations

import contextlib
import itertools
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import pymysql

from support.mysql_server import MariaDbServer

SETUP = """
CREATE DATABASE shop CHARACTER SET utf8mb4;
CREATE DATABASE depot CHARACTER SET latin1;
CREATE TABLE shop.customers (id int AUTO_INCREMENT PRIMARY KEY, name varchar(60) CHARACTER SET utf8mb4, KEY (name));
CREATE TABLE shop.orders (id int AUTO_INCREMENT PRIMARY KEY, customer int, total decimal(10, 2), note longtext,
    at timestamp(6) DEFAULT current_timestamp(6),
    CONSTRAINT of_customer FOREIGN KEY (customer) REFERENCES customers (id) ON DELETE CASCADE);
CREATE TABLE shop.log (what varchar(80), n bigint);
CREATE TABLE shop.prices (id int PRIMARY KEY, price double) WITH SYSTEM VERSIONING;
CREATE SEQUENCE shop.numbers START WITH 100 INCREMENT BY 3 CACHE 7;
CREATE TABLE depot.parts (id int PRIMARY KEY, amount int, label varchar(60) CHARACTER SET utf8mb4);
CREATE TABLE depot.scans (n int, what text) ENGINE = MyISAM;
CREATE TABLE depot.moves (n int KEY, what blob) ENGINE = Aria;
CREATE VIEW shop.sums AS SELECT customer, sum(total) AS total FROM shop.orders GROUP BY customer;
CREATE VIEW depot.buyers AS SELECT c.name, p.amount FROM shop.customers c JOIN depot.parts p ON p.id = c.id;
CREATE EVENT shop.later ON SCHEDULE AT current_timestamp + INTERVAL 1 SECOND DO DELETE FROM shop.log;
DELIMITER //
CREATE TRIGGER shop.of_orders AFTER INSERT ON shop.orders FOR EACH ROW
    INSERT INTO shop.log VALUES ('ordered', NEW.id)//
CREATE PROCEDURE depot.take(wanted int) BEGIN UPDATE depot.parts SET amount = amount - 1 WHERE id = wanted; END//
CREATE FUNCTION shop.vat(price decimal(10, 2)) RETURNS decimal(10, 2) DETERMINISTIC RETURN price * 0.2//
DELIMITER ;
"""

Step = Callable[[random.Random, int], Sequence[str]]


def _trade(dice: random.Random, n: int) -> Sequence[str]:
    """Transactions over both databases, some of them taken back."""
    return (
        "START TRANSACTION",
        f"INSERT INTO shop.customers (name) VALUES ('customer {n} é 💾')",
        "INSERT INTO shop.orders (customer, total, note) VALUES (last_insert_id(), "
        f"{dice.randint(1, 999)}.5, repeat('x{n}', {dice.randint(1, 2000)}))",
        f"INSERT INTO depot.parts VALUES ({n}, {dice.randint(1, 9)}, 'part') ON DUPLICATE KEY UPDATE amount = 0",
        "UPDATE depot.parts p JOIN shop.customers c ON c.id = p.id SET p.label = c.name, c.name = 'moved' "
        f"WHERE p.id = {dice.randint(1, n)}",
        f"REPLACE INTO shop.prices VALUES ({dice.randint(1, 5)}, {dice.random()})",
        f"DELETE FROM shop.customers WHERE id = {dice.randint(1, 4 * n)}",
        dice.choice(("COMMIT", "COMMIT", "ROLLBACK")),
    )


def _change_structure(dice: random.Random, n: int) -> Sequence[str]:
    return (
        f"CREATE TABLE shop.made_{n} (id int PRIMARY KEY, v varchar(20) DEFAULT 'x') SELECT seq AS id FROM seq_1_to_9",
        f"ALTER TABLE shop.made_{n} ADD COLUMN extra int DEFAULT {n}, ADD KEY (v)",
        f"INSERT INTO shop.made_{n} (id, extra) VALUES (100, {dice.randint(1, 9)})",
        f"RENAME TABLE shop.made_{n} TO depot.kept_{n}",
        f"DROP TABLE IF EXISTS depot.kept_{max(n - 3, 0)}, depot.never_there",
        f"CREATE OR REPLACE VIEW shop.newest AS SELECT * FROM depot.kept_{n}",
        f"CREATE OR REPLACE PROCEDURE shop.say() SELECT {n}",
        f"CREATE DATABASE IF NOT EXISTS side_{n % 3}",
        f"CREATE OR REPLACE TABLE side_{n % 3}.t (a int) SELECT {n} AS a",
        f"DROP DATABASE IF EXISTS side_{(n + 1) % 3}",
        f"CREATE OR REPLACE USER someone_{n % 2}@localhost IDENTIFIED BY 'pass{n}'",
        f"GRANT SELECT ON shop.* TO someone_{n % 2}@localhost",
        f"CREATE OR REPLACE DEFINER = someone_{n % 2}@localhost TRIGGER depot.of_parts BEFORE UPDATE ON depot.parts "
        f"FOR EACH ROW SET NEW.amount = NEW.amount + {n % 4}",
        f"SET PASSWORD FOR someone_{n % 2}@localhost = PASSWORD('other{n}')",
        "TRUNCATE TABLE shop.log",
    )


def _count(dice: random.Random, n: int) -> Sequence[str]:
    """Tables without transactions, sequences, temporary tables."""
    return (
        f"INSERT INTO depot.scans SELECT seq + {n}, 'scan' FROM seq_1_to_{dice.randint(1, 20)}",
        f"INSERT INTO depot.moves VALUES ({n}, x'00ff0a27') ON DUPLICATE KEY UPDATE what = 'again'",
        "SELECT nextval(shop.numbers)",
        "INSERT INTO shop.log VALUES ('number', nextval(shop.numbers))",
        f"CREATE TEMPORARY TABLE depot.passing (a int) SELECT {n} AS a",
        "INSERT INTO depot.scans (n, what) SELECT a, uuid() FROM depot.passing",
        "DROP TEMPORARY TABLE depot.passing",
        f"DELETE FROM depot.scans WHERE n = {dice.randint(1, n)} LIMIT 2",
        f"CALL depot.take({dice.randint(1, n)})",
        "START TRANSACTION",
        f"INSERT INTO depot.scans VALUES ({n}, 'stays')",
        f"INSERT INTO shop.log VALUES ('goes', {n})",
        "ROLLBACK",
    )


class Writers:
    """They write while the block runs, and stand still between two statements while ``paused`` does."""

    def __init__(self, server: MariaDbServer, seed: int) -> None:
        self._server = server
        self._stopping = threading.Event()
        self._failures: list[BaseException] = []
        self._turns = [threading.Lock() for _ in range(3)]
        steps: Sequence[Step] = (_trade, _change_structure, _count)
        self._threads = [
            threading.Thread(target=self._write, args=(step, turn, random.Random(seed + number)))
            for number, (step, turn) in enumerate(zip(steps, self._turns, strict=True))
        ]

    def _write(self, step: Step, turn: threading.Lock, dice: random.Random) -> None:
        try:
            with self._server.connect("shop") as session, session.cursor() as cursor:
                for number in itertools.count(1):
                    with turn:
                        if self._stopping.is_set():
                            return
                        self._run(cursor, step(dice, number))
                    self._stopping.wait(0.01)
        except BaseException as error:  # noqa: BLE001 - it is raised again in the test's thread
            self._failures.append(error)

    @staticmethod
    def _run(cursor: Any, statements: Sequence[str]) -> None:
        for statement in statements:
            # What collides with another session is taken back as a whole: a deadlock, a key or a table that is gone.
            with contextlib.suppress(pymysql.err.OperationalError, pymysql.err.IntegrityError):
                cursor.execute(statement)

    @contextmanager
    def paused(self) -> Iterator[None]:
        with ExitStack() as stack:
            for turn in self._turns:
                stack.enter_context(turn)
            if self._failures:
                raise self._failures[0]
            yield

    @contextmanager
    def at_work(self) -> Iterator[None]:
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._stopping.set()
            for thread in self._threads:
                thread.join()
        if self._failures:
            raise self._failures[0]


def truth(session: Any) -> dict[str, object]:
    """Everything that a server's databases hold: definitions, checksums of tables, where sequences stand."""
    found: dict[str, object] = {}
    own = "NOT IN ('mysql', 'information_schema', 'performance_schema', 'sys')"

    def rows(statement: str) -> list[tuple[Any, ...]]:
        with session.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall())

    for database, collation in rows(
        f"SELECT schema_name, default_collation_name FROM information_schema.schemata WHERE schema_name {own}"
    ):
        found[database] = collation
    for kind, database, name in rows(
        f"SELECT table_type, table_schema, table_name FROM information_schema.tables WHERE table_schema {own}"
    ):
        written = f"`{database}`.`{name}`"
        definition = rows(f"SHOW CREATE TABLE {written}")[0][1]
        if kind == "SEQUENCE":
            found[written] = (definition, rows(f"SELECT * FROM {written}"))
        elif kind == "VIEW":
            found[written] = definition
        else:
            columns = rows(
                "SELECT column_name, column_type, column_default FROM information_schema.columns "
                f"WHERE table_schema = '{database}' AND table_name = '{name}' ORDER BY ordinal_position"
            )
            found[written] = (columns, rows(f"CHECKSUM TABLE {written} EXTENDED")[0][1])
    for kind, table, columns in (
        ("routine", "routines", "routine_schema, routine_name, routine_definition, definer"),
        ("trigger", "triggers", "trigger_schema, trigger_name, action_statement, definer"),
        ("event", "events", "event_schema, event_name, event_definition, definer"),
    ):
        database = columns.partition(",")[0]
        for row in rows(f"SELECT {columns} FROM information_schema.{table} WHERE {database} {own}"):
            found[f"{kind} {row[0]}.{row[1]}"] = row[2:]
    return found
