"""The reader of pg_dump's plain script."""

from __future__ import annotations

import pytest

from db_backup.engines.postgres.contents import LARGE_OBJECTS, DumpContents, StreamDamaged, sequence_value
from db_backup.engines.postgres.script import ScriptReader
from db_backup.engines.row_hashing import TableCounter

pytestmark = pytest.mark.unit

SCRIPT = rb"""--
-- PostgreSQL database dump
--

\restrict abc123

SET client_encoding = 'UTF8';

CREATE FUNCTION public.tricky() RETURNS text LANGUAGE plpgsql AS $_$
BEGIN RETURN 'it''s $$
COPY public.orders (id, value) FROM stdin;
9	not a row
\.
-- PostgreSQL database dump complete
'; END $_$;
COMMENT ON TABLE public.orders IS 'first
COPY public.orders (id, value) FROM stdin;
';
CREATE VIEW public."it's" AS SELECT E'back\\' AS "a ""quote", 'x' /* COPY ' */;
ALTER TABLE ONLY public.orders ALTER COLUMN value SET DEFAULT 'two
lines';
ALTER TABLE ONLY public.root ATTACH PARTITION public."odd ""part" FOR VALUES IN ('a
b');
--
-- Data for Name: orders; Type: TABLE DATA; Schema: public; Owner: -
--

COPY public.orders (id, value) FROM stdin;
1	it's
2	COPY public.orders (id, value) FROM stdin;
3	-- PostgreSQL database dump complete
\.


COPY public."odd ""part" ("a b") FROM stdin;

x
\.


COPY public.no_columns  FROM stdin;


\.


SELECT pg_catalog.lo_open('16400', 131072);
SELECT pg_catalog.lowrite(0, '\x00ff');
SELECT pg_catalog.lo_close(0);

--
-- PostgreSQL database dump complete
--

\unrestrict abc123

"""


def read(script: bytes, block_size: int = 1 << 20) -> DumpContents:
    reader = ScriptReader()
    for start in range(0, len(script), block_size):
        reader.feed(script[start : start + block_size])
    return reader.finish()


def checksum(*rows: bytes) -> str:
    counter = TableCounter()
    counter.add_all(rows)
    return counter.checksum


def test_only_real_copy_statements_are_data() -> None:
    tables = {table.name: table for table in read(SCRIPT).inventory()}
    assert {name: table.rows for name, table in tables.items()} == {
        "public.orders": 3,
        "public.root": 2,
        "public.no_columns": 2,
        LARGE_OBJECTS: 1,
    }
    assert tables["public.orders"].checksum == checksum(
        b"1\tit's", b"2\tCOPY public.orders (id, value) FROM stdin;", b"3\t-- PostgreSQL database dump complete"
    )


@pytest.mark.parametrize("block_size", [1, 2, 5, 17, 100])
def test_blocks_of_any_size_are_read_alike(block_size: int) -> None:
    assert read(SCRIPT, block_size).inventory() == read(SCRIPT).inventory()


def test_a_script_that_is_cut_before_its_last_line_is_seen_as_truncated() -> None:
    last_line = SCRIPT.rstrip(b"\n")
    for length in range(len(last_line)):
        with pytest.raises(StreamDamaged) as caught:
            read(SCRIPT[:length])
        assert caught.value.truncated, length


def test_a_cut_inside_a_table_names_the_table() -> None:
    with pytest.raises(StreamDamaged, match=r"in the data of table public\.orders"):
        read(SCRIPT[: SCRIPT.index(b"2\tCOPY")])


def test_scripts_of_older_pg_dumps_end_with_the_footer() -> None:
    older = SCRIPT.replace(b"\\restrict abc123\n", b"").replace(b"\\unrestrict abc123\n", b"")
    assert read(older).inventory() == read(SCRIPT).inventory()


def test_a_row_that_is_longer_than_a_block_is_one_row() -> None:
    long_row = b"y" * 3_000_000
    script = SCRIPT.replace(b"1\tit's\n", long_row + b"\n")
    tables = {table.name: table for table in read(script, 500_000).inventory()}
    assert tables["public.orders"].rows == 3


@pytest.mark.parametrize("block_size", [3, 1 << 20])
@pytest.mark.parametrize(
    "more",
    [b"DROP TABLE public.zz;\n", b"-- a remark\n", b"\\connect other\n", b"COPY public.t (a) FROM stdin;\n\\.\n"],
)
@pytest.mark.parametrize("place", [b"\\unrestrict abc123\n", b"-- PostgreSQL database dump complete\n--\n"])
def test_nothing_that_psql_would_run_follows_the_last_line(place: bytes, more: bytes, block_size: int) -> None:
    head, _, tail = SCRIPT.rpartition(place)
    with pytest.raises(StreamDamaged, match="goes on after its last line") as caught:
        read(head + place + more + tail, block_size)
    assert not caught.value.truncated


@pytest.mark.parametrize("block_size", [1, 7, 1 << 20])
def test_the_values_of_sequences_are_read_whatever_their_names(block_size: int) -> None:
    statements = (
        b"SELECT pg_catalog.setval('public.orders_id_seq', 42, true);\n"
        b'SELECT pg_catalog.setval(\'public."It\'\'s ""a""\nname"\', -1, false);\n'
    )
    script = SCRIPT.replace(b"COPY public.no_columns", statements + b"COPY public.no_columns")
    found = read(script, block_size)
    assert [(item.kind, item.name) for item in found.sequence_values] == [
        ("sequence value", "public.orders_id_seq: 42, called"),
        ("sequence value", 'public.It\'s "a"\nname: -1, not called'),
    ]
    assert found.inventory() == read(SCRIPT).inventory()


def test_a_sequence_set_in_an_unknown_way_is_damage() -> None:
    with pytest.raises(StreamDamaged, match="sets a sequence in an unknown way"):
        sequence_value(b"SELECT 1;\n")
