-- A database of what a dump can trip over: one of everything that PostgreSQL names, types and stores oddly.
CREATE SCHEMA "My.Schema ""q""";
CREATE SCHEMA empty_schema;
CREATE TYPE mood AS ENUM ('sad', 'ok', 'it''s; fine');
CREATE DOMAIN positive AS integer CONSTRAINT above_zero CHECK (VALUE > 0);
CREATE TYPE pair AS (a integer, b text);
CREATE TYPE float_range AS RANGE (subtype = float8);
CREATE TABLE texts (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, value text);
INSERT INTO texts (value) VALUES
  ('plain'), (''), (NULL), (E'tab\there'), (E'line\nbreak'), (E'cr\r\nlf'), (E'back\\slash'), (E'\\.'), (E'a\n\\.\nb'),
  ('quote '' and "double"'), ('💾 emoji é'), (E'\x01\x02\x7f'), ('COPY public.texts (id, value) FROM stdin;'),
  ('-- PostgreSQL database dump complete'), (repeat('long ', 100000)), (E'\\N');
CREATE TABLE one_column (value text);
INSERT INTO one_column VALUES (''), (''), ('x'), (NULL);
CREATE TABLE no_columns ();
INSERT INTO no_columns DEFAULT VALUES;
INSERT INTO no_columns DEFAULT VALUES;
CREATE TABLE numbers (i smallint, n numeric, r real, d double precision, m money DEFAULT NULL);
INSERT INTO numbers VALUES (1, 'NaN', 'Infinity', '-Infinity'), (2, 1e-300, 'NaN', 4.9e-324), (3, 123456789.123456789, 0.1, 0.1);
CREATE TABLE bytes (value bytea);
INSERT INTO bytes SELECT string_agg(decode(lpad(to_hex(b), 2, '0'), 'hex'), '' ORDER BY b) FROM generate_series(0, 255) b;
CREATE TABLE times (a timestamptz, b timestamp, c date, d interval, e timetz);
INSERT INTO times VALUES ('2026-03-29 01:30+00', 'infinity', '-infinity', '1 mon -2 days 00:00:01.5', '10:00+05:45');
CREATE TABLE "My.Schema ""q"""."Odd.Table ""name""" ("a.b" text[], j jsonb, p pair, f float_range, "m;" mood DEFAULT 'ok');
INSERT INTO "My.Schema ""q"""."Odd.Table ""name""" VALUES
  ('{{a,"b c"},{NULL,"{}"}}', '{"k": [1, "\u00e9", null]}', '(1,"x,y")', '[1.5,2.5)', 'it''s; fine');
CREATE TABLE generated (a integer, b integer GENERATED ALWAYS AS (a * 2) STORED, s serial);
INSERT INTO generated (a) SELECT g FROM generate_series(1, 50) g;
CREATE TABLE by_range (at date, v text DEFAULT E'ALTER TABLE ONLY public.x\nit''s') PARTITION BY RANGE (at);
CREATE TABLE by_range_old PARTITION OF by_range FOR VALUES FROM ('2000-01-01') TO ('2026-01-01');
CREATE TABLE by_range_new PARTITION OF by_range FOR VALUES FROM ('2026-01-01') TO ('2030-01-01') PARTITION BY LIST (v);
CREATE TABLE "by_range new.x" PARTITION OF by_range_new FOR VALUES IN (E'multi\nline''s', 'x');
INSERT INTO by_range VALUES ('2025-01-01', 'x'), ('2027-01-01', 'x'), ('2028-01-01', E'multi\nline''s');
ALTER TABLE by_range ADD CONSTRAINT sane CHECK (at > '1999-01-01');
CREATE INDEX by_range_at ON by_range (at);
CREATE TABLE by_hash (id integer PRIMARY KEY, m mood) PARTITION BY HASH (id);
CREATE TABLE by_hash_0 PARTITION OF by_hash FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE by_hash_1 PARTITION OF by_hash FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO by_hash SELECT g, 'ok' FROM generate_series(1, 100) g;
CREATE TABLE by_mood (m mood, n integer) PARTITION BY HASH (m);
CREATE TABLE by_mood_0 PARTITION OF by_mood FOR VALUES WITH (MODULUS 3, REMAINDER 0);
CREATE TABLE by_mood_1 PARTITION OF by_mood FOR VALUES WITH (MODULUS 3, REMAINDER 1);
CREATE TABLE by_mood_2 PARTITION OF by_mood FOR VALUES WITH (MODULUS 3, REMAINDER 2);
INSERT INTO by_mood VALUES ('sad', 1), ('ok', 2), ('it''s; fine', 3);
CREATE TABLE no_partitions (a integer) PARTITION BY LIST (a);
CREATE TABLE parent (a integer CHECK (a > 0));
CREATE TABLE child (b integer) INHERITS (parent);
INSERT INTO child VALUES (1, 2);
CREATE TABLE chicken (id integer PRIMARY KEY, egg integer);
CREATE TABLE egg (id integer PRIMARY KEY, chicken integer REFERENCES chicken);
ALTER TABLE chicken ADD CONSTRAINT laid FOREIGN KEY (egg) REFERENCES egg DEFERRABLE INITIALLY DEFERRED;
BEGIN; INSERT INTO chicken VALUES (1, 1); INSERT INTO egg VALUES (1, 1); COMMIT;
CREATE VIEW seen AS SELECT id, value FROM texts WHERE value <> E'a\\b''c';
CREATE MATERIALIZED VIEW gathered AS SELECT count(*) AS n FROM texts;
CREATE UNIQUE INDEX gathered_n ON gathered (n);
CREATE FUNCTION tricky() RETURNS text LANGUAGE plpgsql AS $body$
BEGIN
  -- a body that looks like a dump
  RETURN '
COPY public.texts (id, value) FROM stdin;
1	not a row
\.
--
-- PostgreSQL database dump complete
--
'; END $body$;
CREATE FUNCTION atomic(a integer) RETURNS text LANGUAGE sql BEGIN ATOMIC SELECT 'it''s ' || $1 || E'\n--'; END;
CREATE PROCEDURE nothing() LANGUAGE sql AS 'SELECT 1; /* " */';
CREATE AGGREGATE total (integer) (SFUNC = int4pl, STYPE = integer, INITCOND = '0');
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NEW; END$$;
CREATE TRIGGER touched BEFORE UPDATE ON by_range FOR EACH ROW EXECUTE FUNCTION touch();
CREATE RULE ignore AS ON DELETE TO seen DO INSTEAD NOTHING;
CREATE STATISTICS together ON i, n FROM numbers;
CREATE COLLATION german FROM "C";
CREATE OPERATOR === (LEFTARG = integer, RIGHTARG = integer, FUNCTION = int4eq);
CREATE UNLOGGED TABLE fleeting (a integer);
INSERT INTO fleeting VALUES (7);
CREATE EXTENSION hstore SCHEMA "My.Schema ""q""";
CREATE TABLE with_hstore (h "My.Schema ""q""".hstore);
INSERT INTO with_hstore VALUES ('a=>1, b=>NULL');
COMMENT ON TABLE texts IS 'a comment
COPY public.texts FROM stdin;
with lines and a '' quote';
CREATE POLICY mine ON numbers USING (i > 1);
SELECT lo_from_bytea(0, decode(repeat('00ff0a27', 10000), 'hex'));
SELECT lo_from_bytea(0, '');
CREATE TABLE "line
break, ""quoted"", 100% -- not a comment" ("column
with $$ and \ and 💾" text DEFAULT E'\n\\.\n', "select" integer);
INSERT INTO "line
break, ""quoted"", 100% -- not a comment" VALUES ('a', 1), (DEFAULT, 2);
CREATE TABLE "CREATE TABLE x (" ("COPY public.t (a) FROM stdin;" integer);
CREATE TABLE "parts
of" (id integer) PARTITION BY LIST (id);
CREATE TABLE "first
part" PARTITION OF "parts
of" FOR VALUES IN (1);
INSERT INTO "parts
of" VALUES (1);
CREATE TABLE typed OF pair (PRIMARY KEY (a));
INSERT INTO typed VALUES (1, 'x');
CREATE SEQUENCE downwards INCREMENT -5 MINVALUE -1000 MAXVALUE 100 START 100 CYCLE;
SELECT nextval('downwards'), nextval('downwards');
CREATE TABLE virtual_words (word text, document tsvector GENERATED ALWAYS AS (to_tsvector('simple', word)) STORED);
INSERT INTO virtual_words (word) VALUES ('the quick brown fox');
CREATE INDEX ON virtual_words USING gin (document);
CREATE INDEX ON texts (lower(value)) WHERE length(value) < 100;
CREATE TABLE bookings (room integer, during int4range, EXCLUDE USING gist (during WITH &&));
INSERT INTO bookings VALUES (1, '[1,5)'), (1, '[5,9)');
CREATE TABLE ranges (m int4multirange, x xml, b bit(3), p point, i inet, u uuid, q tsquery);
INSERT INTO ranges VALUES ('{[1,2),[5,9)}', '<a b="c">&amp;</a>', B'101', '(1.5,-0)', '::1', '00000000-0000-0000-0000-00000000000a', 'a & b');
CREATE FUNCTION watch() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN END$$;
CREATE EVENT TRIGGER watching ON ddl_command_end EXECUTE FUNCTION watch();
CREATE PUBLICATION news FOR TABLE texts;
CREATE FOREIGN DATA WRAPPER nowhere;
CREATE SERVER far FOREIGN DATA WRAPPER nowhere;
CREATE FOREIGN TABLE elsewhere (a integer) SERVER far;
CREATE FUNCTION as_number(mood) RETURNS integer LANGUAGE sql AS 'SELECT 1';
CREATE CAST (mood AS integer) WITH FUNCTION as_number(mood);
CREATE TEXT SEARCH CONFIGURATION plain_words (COPY = simple);
CREATE CONVERSION back FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8;
CREATE TABLE noted (a integer);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'this trigger must not fire'; END$$;
INSERT INTO noted VALUES (1);
CREATE TRIGGER noting BEFORE INSERT ON noted FOR EACH ROW EXECUTE FUNCTION note();
CREATE TRIGGER sleeping BEFORE INSERT ON noted FOR EACH STATEMENT EXECUTE FUNCTION note();
ALTER TABLE noted DISABLE TRIGGER sleeping;
CREATE TABLE shrunk (a integer, b text, c integer DEFAULT 3);
INSERT INTO shrunk VALUES (1, 'dropped', 2);
ALTER TABLE shrunk DROP COLUMN b;
ALTER TABLE shrunk ADD COLUMN d text DEFAULT 'added later';
CREATE TABLE guarded (a integer, owner name DEFAULT current_user);
INSERT INTO guarded VALUES (1), (2);
ALTER TABLE guarded ENABLE ROW LEVEL SECURITY;
ALTER TABLE guarded FORCE ROW LEVEL SECURITY;
CREATE POLICY own_rows ON guarded AS RESTRICTIVE FOR SELECT USING (owner = current_user AND a <> 2);
CREATE CONSTRAINT TRIGGER at_the_end AFTER INSERT ON shrunk DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION touch();
CREATE VIEW only_small WITH (security_barrier) AS SELECT a FROM shrunk WHERE a < 10 WITH CASCADED CHECK OPTION;
CREATE RECURSIVE VIEW countdown (n) AS VALUES (3) UNION ALL SELECT n - 1 FROM countdown WHERE n > 1;
CREATE TABLE infinite (d date, t timestamptz, n numeric, r daterange);
INSERT INTO infinite VALUES ('infinity', '-infinity', 'Infinity', '(,infinity]'), ('4713-01-01 BC', '0044-03-15 12:00+00 BC', '-Infinity', 'empty');
CREATE TABLE "select" ("from" integer, "table" integer, "user" integer GENERATED BY DEFAULT AS IDENTITY (START 7 INCREMENT -3 MAXVALUE 9));
INSERT INTO "select" ("from") VALUES (1);
