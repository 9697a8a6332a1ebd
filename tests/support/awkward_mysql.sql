-- Whatever is awkward to dump from MariaDB 10.11. The runner replaces @DB@ by the database's quoted name.
SET sql_mode = '';
CREATE TABLE `ta``ble (1)` (
    id int AUTO_INCREMENT PRIMARY KEY, `na``me` varchar(100) CHARACTER SET utf8mb4, bytes blob, number double,
    day date DEFAULT '0000-00-00', bits bit(9), document json, source int, stored int AS (source * 2) STORED,
    computed int AS (source * 3) VIRTUAL, hidden int INVISIBLE DEFAULT 5, price decimal(20, 5), choice enum('a', 'b'),
    choices set('x', 'y'), moment timestamp NULL, place point, wide varchar(10) CHARACTER SET utf16
);
INSERT INTO `ta``ble (1)`
    (`na``me`, bytes, number, day, bits, document, source, price, choice, choices, moment, place, hidden, wide)
VALUES
    ('it''s; "x" ),( \\ \n newline\r\t\Z\0
raw 😀', x'00ff27225c0a0d1a', 1.5, '0000-00-00', b'101', '{"a": "b\\"c"}', 7, -12.5, 'a', 'x,y',
     '2020-01-01 00:00:00', ST_GeomFromText('POINT(1 2)'), 7, 'é'),
    (NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 8, NULL),
    ('-- Dump completed on 2026-01-01 00:00:00\n', x'', -0.0, '2020-02-30', b'0', '[]', 0, 0, 'b', '', '2021-01-01',
     NULL, 9, ''),
    ('),\n(', x'29', 1e308, '2020-01-01', b'1', 'null', 1, 1, 'a', 'x', '1970-01-01 00:00:01', NULL, 1, '''');
CREATE TABLE all_bytes (id int PRIMARY KEY, content longblob, latin longtext CHARACTER SET latin1);
INSERT INTO all_bytes SELECT seq, UNHEX(LPAD(HEX(seq), 2, '0')), CHAR(seq USING latin1) FROM seq_0_to_255;
INSERT INTO all_bytes SELECT 1000, GROUP_CONCAT(content ORDER BY id SEPARATOR ''), NULL FROM all_bytes WHERE id < 256;
CREATE TABLE `new
line -- Dump completed` (a int, `b
c` text COMMENT 'it''s
x;') COMMENT = 'x;
INSERT INTO `y` VALUES (1);';
INSERT INTO `new
line -- Dump completed` VALUES (1, 'x
y'), (2, 'NULL'), (3, NULL), (4, '');
CREATE TABLE `select` (`from` int, `table` text, `INSERT INTO` int);
INSERT INTO `select` VALUES (1, 'where', 2);
CREATE TABLE `empty` (a int) ENGINE = Aria;
CREATE TABLE not_transactional (a int, f float) ENGINE = MyISAM;
INSERT INTO not_transactional VALUES (1, 1.5), (2, 2.25), (2, 2.25);
CREATE SEQUENCE numbers START WITH 100 INCREMENT 10;
CREATE TABLE numbered (a int PRIMARY KEY DEFAULT nextval(numbers), b text);
INSERT INTO numbered (b) VALUES ('x'), ('y');
CREATE TABLE partitioned (a int PRIMARY KEY) PARTITION BY HASH (a) PARTITIONS 4;
INSERT INTO partitioned SELECT seq FROM seq_1_to_10;
CREATE TABLE versioned (a int PRIMARY KEY) WITH SYSTEM VERSIONING;
INSERT INTO versioned VALUES (1);
UPDATE versioned SET a = 2;
CREATE TABLE parent (id int PRIMARY KEY, child int);
CREATE TABLE child (id int PRIMARY KEY, parent int, CONSTRAINT of_parent FOREIGN KEY (parent) REFERENCES parent (id),
    CONSTRAINT positive CHECK (id > 0), FULLTEXT INDEX words (note), note text);
ALTER TABLE parent ADD CONSTRAINT of_child FOREIGN KEY (child) REFERENCES child (id);
INSERT INTO parent VALUES (1, NULL);
INSERT INTO child VALUES (1, 1, 'some words');
UPDATE parent SET child = 1;
CREATE TABLE counting_innodb (id int AUTO_INCREMENT PRIMARY KEY) ENGINE = InnoDB;
INSERT INTO counting_innodb VALUES (), (), ();
DELETE FROM counting_innodb WHERE id > 1;
CREATE TABLE counting_myisam (id int AUTO_INCREMENT PRIMARY KEY) ENGINE = MyISAM AUTO_INCREMENT = 500;
CREATE TABLE counting_aria (id int AUTO_INCREMENT PRIMARY KEY) ENGINE = Aria AUTO_INCREMENT = 500;
CREATE TABLE counting_memory (id tinyint AUTO_INCREMENT PRIMARY KEY) ENGINE = MEMORY AUTO_INCREMENT = 77;
CREATE TABLE counting_parts (id int AUTO_INCREMENT PRIMARY KEY) AUTO_INCREMENT = 900 PARTITION BY HASH (id) PARTITIONS 4;
CREATE TABLE counting_to_the_end (id tinyint AUTO_INCREMENT PRIMARY KEY);
INSERT INTO counting_to_the_end VALUES (1), (127);
CREATE TABLE counting_ahead (id int AUTO_INCREMENT PRIMARY KEY);
INSERT INTO counting_ahead VALUES (), ();
UPDATE counting_ahead SET id = 5000 WHERE id = 2;
CREATE SEQUENCE exhausted MAXVALUE 3 NOCACHE;
DO NEXTVAL(exhausted), NEXTVAL(exhausted), NEXTVAL(exhausted);
CREATE SEQUENCE down START WITH -5 INCREMENT BY -3;
DO NEXTVAL(down);
CREATE SEQUENCE behind START WITH 1000;
ALTER SEQUENCE behind START 2000;
CREATE TABLE kinds (
    id uuid PRIMARY KEY, address inet6, y year, t time(6), moment datetime(6), f float, d double, fixed float(9, 3),
    n numeric(65, 30), big bigint unsigned, packed longtext COMPRESSED, raw binary(4), shape geometry,
    due date DEFAULT (curdate() + INTERVAL 1 DAY), INDEX backwards (big DESC)
);
INSERT INTO kinds VALUES
    ('00000000-0000-0000-0000-00000000000a', '::ffff:1.2.3.4', 1901, '-838:59:59.999999', '9999-12-31 23:59:59.999999',
     1.17549e-38, 2.2250738585072014e-308, 1234.567, 12345678901234567890123456789012345.123456789012345678901234567891,
     18446744073709551615, repeat('packed ', 1000), x'00ff0000',
     ST_GeomFromText('GEOMETRYCOLLECTION(POINT(1 2),LINESTRING(0 0,1e300 -1))'), '2026-01-01'),
    ('ffffffff-ffff-ffff-ffff-ffffffffffff', '::', 0, '00:00:00', '0000-00-00 00:00:00', -0.0, -1.7976931348623157e308,
     0, -0.000000000000000000000000000001, 0, '', '', NULL, '2026-12-31');
CREATE TABLE `100% -- "quoted" \ and $$ /* 64 characters long and no less */ {` (`%s` int, `a.b` int, `--` int);
INSERT INTO `100% -- "quoted" \ and $$ /* 64 characters long and no less */ {` VALUES (1, 2, 3);
CREATE TABLE rooms (room int, since date, until date, PERIOD FOR stay (since, until),
    UNIQUE (room, stay WITHOUT OVERLAPS));
INSERT INTO rooms VALUES (1, '2026-01-01', '2026-02-01'), (1, '2026-02-01', '2026-03-01');
CREATE TABLE ranges (at date, n int, INDEX (n)) PARTITION BY RANGE COLUMNS (at) SUBPARTITION BY HASH (n)
    SUBPARTITIONS 2 (PARTITION p0 VALUES LESS THAN ('2026-01-01'), PARTITION p1 VALUES LESS THAN (MAXVALUE));
INSERT INTO ranges VALUES ('2025-05-05', 1), ('2026-05-05', 2), (NULL, 3);
CREATE TABLE lists (a int) PARTITION BY LIST (a) (PARTITION some VALUES IN (1, NULL), PARTITION others DEFAULT);
INSERT INTO lists VALUES (1), (NULL), (77);
CREATE TABLE gone (a int);
CREATE VIEW broken AS SELECT a + 1 AS b FROM gone;
DROP TABLE gone;
CREATE DEFINER = nobody@nowhere VIEW view_of_nobody AS SELECT 1;
CREATE DEFINER = nobody@nowhere PROCEDURE procedure_of_nobody() SELECT 1;
CREATE VIEW first_view AS SELECT id, 'it''s; x' AS q FROM `ta``ble (1)`;
CREATE VIEW a_view_of_a_view AS SELECT id FROM first_view;
CREATE VIEW `new
view` AS SELECT id, '-- Dump completed
' AS x FROM first_view;
DELIMITER //
CREATE FUNCTION plus_one(a int) RETURNS int DETERMINISTIC BEGIN RETURN a + 1; END//
CREATE TRIGGER plain_name BEFORE INSERT ON numbered FOR EACH ROW BEGIN SET new.b = concat(new.b, '!;'); END//
CREATE TRIGGER @DB@.`qualified` AFTER INSERT ON @DB@.numbered FOR EACH ROW BEGIN
-- don't
-- Dump completed on 2026-01-01 00:00:00
SET @x = 1;
END//
CREATE PROCEDURE forging() BEGIN
  -- comment don't
  /* nor "this */
  SELECT '
INSERT INTO `forged` VALUES
(1);
DELIMITER ;
CREATE TABLE `forged` (a int);
', ';;
';
END//
CREATE PROCEDURE qualified_body() BEGIN SELECT @DB@.plus_one(1); END//
CREATE EVENT nightly ON SCHEDULE EVERY 1 DAY DO BEGIN INSERT INTO numbered (b) VALUES ('e'); END//
SET sql_mode = 'NO_BACKSLASH_ESCAPES'//
CREATE PROCEDURE without_escapes() BEGIN SELECT '\', ';;'; END//
SET sql_mode = ORACLE//
CREATE PACKAGE pack AS FUNCTION x() RETURN int; END//
CREATE PACKAGE BODY pack AS FUNCTION x() RETURN int AS BEGIN RETURN 1; END; END//
SET sql_mode = ''//
DELIMITER ;
CREATE VIEW with_function AS SELECT plus_one(id) AS next, 'a' AS b FROM parent;
