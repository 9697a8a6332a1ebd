"""The MariaDB lab, over ``mysql_server``."""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from db_backup.model import BackupType, ConnectionInfo, EngineName
from support.lab import EngineLab, awkward_script
from support.mysql_server import MariaDbServer
from support.ports import free_port

_SAMPLE = """
CREATE TABLE marks (id int PRIMARY KEY, word varchar(40) NOT NULL);
INSERT INTO marks VALUES (1, 'first'), (2, 'doomed'), (3, 'last');
CREATE TABLE left_side (id bigint AUTO_INCREMENT PRIMARY KEY);
CREATE TABLE right_side (id bigint AUTO_INCREMENT PRIMARY KEY);
CREATE TABLE empty_table (id int);
CREATE TABLE `select "from" where; '%' ?#` (`group` int, `a ``quoted`` column` text);
INSERT INTO `select "from" where; '%' ?#` VALUES (1, 'it''s'), (NULL, NULL), (2, 'tab\\tline\\nback\\\\),(3,\\'');
CREATE TABLE customers (id int AUTO_INCREMENT PRIMARY KEY, email varchar(100) UNIQUE, profile json);
CREATE TABLE orders (
    id int AUTO_INCREMENT PRIMARY KEY, customer_id int NOT NULL, state enum('new', 'paid', 'it''s gone'),
    quantity int CHECK (quantity > 0), price decimal(12, 2), total decimal(14, 2) AS (price * quantity) STORED,
    at timestamp DEFAULT current_timestamp, KEY orders_by_customer (customer_id),
    CONSTRAINT of_customer FOREIGN KEY (customer_id) REFERENCES customers (id) ON DELETE CASCADE
);
INSERT INTO customers (email, profile) VALUES
    ('ada@example.com', '{"a": [1, null]}'), ('zoë@exämple.com', NULL), ('💾@example.com', '"é"');
INSERT INTO orders (customer_id, state, quantity, price, at) VALUES
    (1, 'new', 2, 12.50, '2026-01-01 00:00:00'), (2, 'it''s gone', 1, 0.10, '2026-07-01 12:00:00');
CREATE VIEW revenue AS SELECT customer_id, sum(total) AS total FROM orders GROUP BY customer_id;
CREATE TABLE log (at timestamp DEFAULT current_timestamp, what text);
CREATE SEQUENCE invoice_numbers START WITH 1000;
CREATE TABLE measures (at date NOT NULL, value double) PARTITION BY RANGE (year(at))
    (PARTITION old VALUES LESS THAN (2026), PARTITION rest VALUES LESS THAN MAXVALUE);
INSERT INTO measures VALUES ('2025-05-05', 0.1), ('2026-05-05', 1e300), ('2027-01-01', NULL);
CREATE TABLE oddities (value blob, bits bit(5), shape point, hidden int INVISIBLE DEFAULT 7);
INSERT INTO oddities VALUES (x'00ff0a5c27', b'10101', POINT(1, 2)), (NULL, NULL, NULL), ('', b'0', NULL);
DELIMITER //
CREATE TRIGGER log_orders AFTER INSERT ON orders FOR EACH ROW BEGIN INSERT INTO log (what) VALUES ('order'); END//
CREATE PROCEDURE count_orders() BEGIN SELECT count(*) FROM orders; END//
CREATE FUNCTION vat(price decimal(12, 2)) RETURNS decimal(12, 2) DETERMINISTIC RETURN price * 0.2//
CREATE EVENT forget ON SCHEDULE EVERY 1 DAY DISABLE DO DELETE FROM log WHERE at < now() - INTERVAL 1 YEAR//
DELIMITER ;
"""


class MysqlLab(EngineLab):
    engine_name = EngineName.MYSQL
    dump_tool = "mariadb-dump"
    not_carried: ClassVar[Mapping[BackupType, tuple[str, ...]]] = {
        BackupType.FULL: (
            "The view 'broken' refers to something that is gone",
            "(1449), here and after a restore: nobody@nowhere",
            "FLOAT columns are dumped with 6 digits",
            "FLOAT columns in tables without a primary key",
            "name their sequence together with the database",
            "Tables without transactions",
        ),
        BackupType.STRUCTURE: ("The view 'broken' refers to something that is gone",),
        BackupType.DATA: ("FLOAT columns are dumped with 6 digits",),
    }

    def __init__(self, folder: Path, server: MariaDbServer) -> None:
        super().__init__(folder)
        self.server = server
        self.password = server.root_password

    def connection(self, database: str) -> ConnectionInfo:
        return self.server.connection(database)

    def unreachable(self, database: str) -> ConnectionInfo:
        return dataclasses.replace(self.connection(database), port=free_port())

    def create_empty(self) -> str:
        database = self.fresh_name()
        self.server.run(f"CREATE DATABASE {database} CHARACTER SET utf8mb4")
        return database

    def create_nasty(self) -> str:
        database = self.create_empty()
        self.server.run_script(awkward_script(self.engine_name).replace("@DB@", database), database)
        return database

    def create_sample(self) -> str:
        database = self.create_empty()
        self.server.run_script(_SAMPLE, database)
        return database

    def fill(self, database: str, megabytes: int) -> None:
        self.execute(
            database,
            "CREATE TABLE filler (id int, value text)",
            f"INSERT INTO filler SELECT seq, repeat(md5(seq), 31) FROM seq_1_to_{megabytes * 1100}",
        )

    def execute(self, database: str, *statements: str) -> None:
        self.server.run("START TRANSACTION", *statements, "COMMIT", database=database)

    def counts(self, database: str) -> dict[str, int]:
        tables = self.server.run(
            f"SELECT table_name FROM information_schema.tables WHERE table_schema = '{database}' "
            "AND table_type = 'BASE TABLE'"
        )
        return {
            name: self.server.run("SELECT count(*) FROM `" + name.replace("`", "``") + "`", database=database)[0][0]
            for (name,) in tables
        }

    def stock_dump(self, database: str) -> str:
        with tempfile.NamedTemporaryFile("w") as options:
            options.write(self.server.option_file())
            options.flush()
            return subprocess.run(
                [
                    self.real_dump_tool(),
                    f"--defaults-extra-file={options.name}",
                    "--routines",
                    "--events",
                    "--skip-comments",
                    "--skip-extended-insert",
                    database,
                ],
                capture_output=True,
                text=True,
                errors="replace",
                check=True,
            ).stdout

    def exists(self, database: str) -> bool:
        return bool(self.server.run(f"SHOW DATABASES LIKE '{database}'"))

    def drop(self, database: str) -> None:
        self.server.run(f"DROP DATABASE IF EXISTS {database}")

    def break_one_row(self, plain: bytes) -> bytes:
        changed, count = re.subn(rb"\(2,'doomed'\),\n?", b"", plain)
        assert count == 1
        return changed

    def stock_environment(self, home: Path) -> Mapping[str, str]:
        options = home / ".my.cnf"
        options.write_text(self.server.option_file())
        options.chmod(0o600)
        return {"HOME": str(home)}

    def real_dump_tool(self) -> Path:
        tool = shutil.which("mariadb-dump")
        assert tool is not None
        return Path(tool)
