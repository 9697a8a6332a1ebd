-- A database of what a script can trip over: one of everything that SQLite names, types and stores oddly.
PRAGMA foreign_keys = OFF;
CREATE TABLE "line
break; -- not a comment, ""quoted"", 100% 'single' [brackets] `ticks` 💾" ("column
with /* */" TEXT DEFAULT 'a;
-- b''', "select" INTEGER);
INSERT INTO "line
break; -- not a comment, ""quoted"", 100% 'single' [brackets] `ticks` 💾" VALUES ('x', 1), (NULL, 2);
CREATE TABLE texts (value);
INSERT INTO texts VALUES (''), ('plain'), ('it''s'), ('"double"'), ('semi;
-- The end of this backup.
COMMIT;
'), (char(13, 10)), ('a' || char(13) || 'b'), (char(0)), ('before' || char(0) || 'after'), ('.quit'), ('
.quit
/
go
'), ('💾 é'), (CAST(x'c328ff' AS TEXT)), (CAST(x'eda080' AS TEXT)), (x''), (x'00ff'), ('CAST(X''00'' AS TEXT)'),
    (char(1, 127, 65279)), ('');
CREATE TABLE numbers (free, i INTEGER, r REAL, n NUMERIC, t TEXT, b BLOB);
INSERT INTO numbers VALUES (0, 0, 0, 0, 0, 0), (-0.0, -0.0, -0.0, -0.0, -0.0, -0.0), (1.0, 1.0, 1, 1.0, 1.0, 1.0),
    (9223372036854775807, -9223372036854775807 - 1, 9223372036854775807, 9223372036854775807, 1, 1),
    (9007199254740993, 9007199254740993.0, 9007199254740993, 1e15, 1e15, 1e15), (0.1, 0.1, 0.1, 0.1, 0.1, 0.1),
    (9e999, 9e999, -9e999, 9e999, 9e999, 9e999), (5e-324, 5e-324, 2.2250738585072011e-308, 5e-324, 5e-324, 5e-324),
    (1.7976931348623157e308, -1.7976931348623157e308, 1e300, 1e-300, 3.14, 2.5), ('1', 'x', 'y', '1e2x', '01', '1'),
    (12.99, 99999.99, 1e22, 1e23, 0.30000000000000004, 123456789012345680);
CREATE TABLE "t" ("t" TEXT PRIMARY KEY) WITHOUT ROWID;
INSERT INTO "t" VALUES ('rebuild'), ('other');
CREATE TABLE rowids (value TEXT);
INSERT INTO rowids (rowid, value) VALUES (5, 'five'), (-9223372036854775808, 'least'), (9223372036854775807, 'most');
CREATE TABLE hides_rowid (rowid TEXT, _rowid_ INTEGER);
INSERT INTO hides_rowid (rowid, _rowid_, oid) VALUES ('a', 1, 77);
CREATE TABLE counted (id INTEGER PRIMARY KEY AUTOINCREMENT, v TEXT);
INSERT INTO counted VALUES (10, 'kept'), (500, 'gone');
DELETE FROM counted WHERE id = 500;
CREATE TABLE counted_only (id INTEGER PRIMARY KEY AUTOINCREMENT);
INSERT INTO counted_only DEFAULT VALUES;
DELETE FROM counted_only;
CREATE TABLE chicken (id INTEGER PRIMARY KEY, egg INTEGER REFERENCES egg (id));
CREATE TABLE egg (id INTEGER PRIMARY KEY, chicken INTEGER NOT NULL REFERENCES chicken (id));
INSERT INTO chicken VALUES (1, 1), (2, 99);
INSERT INTO egg VALUES (1, 1);
CREATE TABLE strict (i INT, r REAL, t TEXT, b BLOB, a ANY) STRICT;
INSERT INTO strict VALUES (1, 2, 'three', x'04', '5'), (NULL, NULL, NULL, NULL, 5.0);
CREATE TABLE computed (a INTEGER, b INTEGER AS (a * 2) STORED, c TEXT AS ('c' || a), d TEXT DEFAULT (datetime()));
INSERT INTO computed (a, d) VALUES (1, 'then'), (2, 'now');
CREATE TABLE checked (v INTEGER CHECK (v > 0) -- with a comment at its end
);
PRAGMA ignore_check_constraints = ON;
INSERT INTO checked VALUES (1), (-1);
PRAGMA ignore_check_constraints = OFF;
CREATE TABLE widened (a INTEGER);
INSERT INTO widened VALUES (1);
ALTER TABLE widened ADD COLUMN b TEXT DEFAULT 'added';
CREATE INDEX by_expression ON texts (length(value)) WHERE value IS NOT NULL;
CREATE UNIQUE INDEX "odd ""index""" ON numbers (free, i DESC, t COLLATE NOCASE);
CREATE VIEW "odd ""view""" AS SELECT value AS "v;" FROM texts -- a comment that ends the view
;
CREATE VIEW later AS SELECT * FROM not_there_yet;
CREATE TABLE log (what TEXT);
CREATE TRIGGER on_rowids AFTER INSERT ON rowids WHEN new.value <> ';' BEGIN
    INSERT INTO log VALUES ('a trigger; fired');
    SELECT CASE WHEN 1 THEN RAISE(ABORT, 'it must not fire') END;
END;
CREATE TRIGGER through_view INSTEAD OF INSERT ON "odd ""view""" BEGIN INSERT INTO texts VALUES (new."v;"); END;
CREATE VIRTUAL TABLE words USING fts5(title, body UNINDEXED, tokenize = 'porter');
INSERT INTO words (rowid, title, body) VALUES (7, 'the quick fox', 'content=''not an option'''), (3, NULL, 'x');
DELETE FROM words WHERE rowid = 3;
CREATE TABLE documents (id INTEGER PRIMARY KEY, body TEXT);
INSERT INTO documents VALUES (1, 'lazy dogs'), (4, 'jumping foxes');
CREATE VIRTUAL TABLE found USING fts5(body, content='documents', content_rowid='id');
INSERT INTO found (found) VALUES ('rebuild');
CREATE VIRTUAL TABLE old_words USING fts4(body, tokenize=unicode61);
INSERT INTO old_words (docid, body) VALUES (9, 'an older index');
CREATE VIRTUAL TABLE old_found USING fts4(content="documents", body);
INSERT INTO old_found (old_found) VALUES ('rebuild');
CREATE VIRTUAL TABLE forgetful USING fts5(body, content='');
INSERT INTO forgetful (rowid, body) VALUES (1, 'not kept');
CREATE VIRTUAL TABLE boxes USING rtree(id, x0, x1, y0, y1, +label TEXT);
INSERT INTO boxes VALUES (1, 0.1, 0.2, -1e30, 1e30, 'first'), (9, 5, 8, 5, 8, NULL);
CREATE VIRTUAL TABLE grid USING rtree_i32(id, x0, x1);
INSERT INTO grid VALUES (2, -5, 5);
PRAGMA user_version = -7;
PRAGMA application_id = 1234567890;
