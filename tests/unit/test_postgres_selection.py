"""What of an archive belongs to chosen tables, and which roles it names."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from db_backup.engines.postgres.entries import read_entries
from db_backup.engines.postgres.formats import Container, DumpFormat
from db_backup.engines.postgres.owners import roles_in_manifest, roles_of
from db_backup.engines.postgres.selection import Present, RelationMissing, select
from db_backup.engines.postgres.toc import Entry
from support.factories import make_manifest
from support.postgres_archive import ArchiveWriter

pytestmark = pytest.mark.unit

NOTHING = Present(frozenset(), is_empty=True)


def entry(number: int, description: str, tag: str, definition: str = "", *needs: int, owner: str = "ada") -> Entry:
    return Entry(number, description, "public", tag, definition.encode(), owner, needs)


def chosen(entries: Iterable[Entry], *tables: str, present: Present = NOTHING) -> tuple[int, ...]:
    (numbers,) = select([list(entries)], tables, present).numbers
    return numbers


@pytest.mark.parametrize(
    ("description", "tag", "definition"),
    [
        ("TABLE DATA", "a", ""),
        ("TABLE ATTACH", "a", "ALTER TABLE ONLY public.whole ATTACH PARTITION public.a DEFAULT;\n"),
        ("DEFAULT", "a b", "ALTER TABLE ONLY public.a ALTER COLUMN b SET DEFAULT 1;\n"),
        ("CONSTRAINT", "a b c", 'ALTER TABLE ONLY public.a\n    ADD CONSTRAINT "b c" PRIMARY KEY (id);\n'),
        ("CHECK CONSTRAINT", "a b", "ALTER TABLE public.a\n    ADD CONSTRAINT b CHECK ((x > 1)) NOT VALID;\n"),
        ("INDEX", "i", 'CREATE UNIQUE INDEX "i on" ON ONLY public.a USING btree (id);\n'),
        (
            "TRIGGER",
            "a t",
            'CREATE CONSTRAINT TRIGGER "t ON public.b" AFTER INSERT OR UPDATE OF "x, y", z ON public.a '
            "FOR EACH ROW EXECUTE FUNCTION public.f();\n",
        ),
        ("TRIGGER", "a t", "ALTER TABLE public.a DISABLE TRIGGER t;\n"),
        ("RULE", "a r", "CREATE RULE r AS\n    ON DELETE TO public.a DO INSTEAD NOTHING;\n"),
        ("POLICY", "a p", "CREATE POLICY p ON public.a FOR SELECT USING (true);\n"),
        ("STATISTICS", "s", "CREATE STATISTICS public.s (ndistinct) ON x, y FROM public.a;\n"),
        (
            "STATISTICS",
            "s",
            'CREATE STATISTICS public."s FROM" ON x, y FROM public.a;\n'
            'ALTER STATISTICS public."s FROM" SET STATISTICS 55;\n',
        ),
        ("ROW SECURITY", "a", "ALTER TABLE public.a ENABLE ROW LEVEL SECURITY;\n"),
    ],
)
def test_what_belongs_to_a_table_is_told_by_its_statement(description: str, tag: str, definition: str) -> None:
    tables = [entry(1, "TABLE", "a"), entry(2, "TABLE", "a b"), entry(3, "TABLE", "b")]
    part = entry(4, description, tag, definition)
    comment = entry(5, "COMMENT", "whatever", "COMMENT ON …", 4)
    if description != "TABLE ATTACH":
        assert chosen([*tables, part, comment], "public.a") == (1, 4, 5)
    assert chosen([*tables, part, comment], "public.b", "public.a b") == (2, 3)


def test_partitions_and_their_indexes_come_with_their_table() -> None:
    entries = [
        entry(1, "TABLE", "whole"),
        entry(2, "TABLE", "part"),
        entry(3, "TABLE ATTACH", "part", "ALTER TABLE ONLY public.whole ATTACH PARTITION public.part DEFAULT;\n", 1, 2),
        entry(4, "INDEX", "whole_i", "CREATE INDEX whole_i ON ONLY public.whole USING btree (id);\n", 1),
        entry(5, "CONSTRAINT", "part k", "ALTER TABLE ONLY public.part\n    ADD CONSTRAINT k UNIQUE (id);\n", 2),
        entry(6, "INDEX ATTACH", "k", "ALTER INDEX public.whole_i ATTACH PARTITION public.k;\n", 4, 5),
        entry(7, "INDEX ATTACH", "other", "ALTER INDEX public.x ATTACH PARTITION public.other;\n"),
    ]
    assert chosen(entries, "public.whole") == (1, 2, 3, 4, 5, 6)


def test_own_sequences_come_along_and_those_of_other_tables_do_not() -> None:
    entries = [
        entry(1, "TABLE", "a"),
        entry(2, "SEQUENCE", "a_id_seq", "CREATE SEQUENCE public.a_id_seq;\n"),
        entry(3, "SEQUENCE OWNED BY", "a_id_seq", "ALTER SEQUENCE public.a_id_seq OWNED BY public.a.id;\n"),
        entry(
            4, "SEQUENCE", "a_no_seq", "ALTER TABLE public.a ALTER COLUMN no ADD GENERATED ALWAYS AS IDENTITY (…);\n"
        ),
        entry(5, "SEQUENCE", "b_id_seq", "CREATE SEQUENCE public.b_id_seq;\n"),
        entry(6, "SEQUENCE OWNED BY", "b_id_seq", "ALTER SEQUENCE public.b_id_seq OWNED BY public.b.id;\n"),
        *(entry(7 + n, "SEQUENCE SET", name) for n, name in enumerate(("a_id_seq", "a_no_seq", "b_id_seq"))),
    ]
    assert chosen(entries, "public.a") == (1, 2, 3, 4, 7, 8)


def key(number: int, table: str, other: str) -> Entry:
    statement = (
        f"ALTER TABLE ONLY public.{table}\n    ADD CONSTRAINT k FOREIGN KEY (x) REFERENCES public.{other}(id);\n"
    )
    return entry(number, "FK CONSTRAINT", f"{table} k", statement)


def test_foreign_keys_are_kept_among_the_chosen_and_named_otherwise() -> None:
    entries = [*(entry(n, "TABLE", name) for n, name in enumerate("abc", 1)), key(4, "a", "b"), key(5, "a", "c")]
    entries += [key(6, "c", "b"), key(7, "c", "c")]
    found = select([entries], ["public.a", "public.b"], NOTHING)
    assert found.numbers == ((1, 2, 4),)
    assert found.warnings == (
        "Foreign keys to tables that were not chosen are not restored: public.a k to public.c.",
        "Foreign keys of other tables to the chosen ones are not restored: public.c k to public.b.",
    )


def test_what_the_target_lacks_of_that_which_a_table_needs_comes_along() -> None:
    entries = [
        entry(1, "TYPE", "state"),
        entry(2, "FUNCTION", "f(integer)", "", 1),
        entry(3, "TABLE", "a", "", 1, 2),
        entry(4, "ACL", "TYPE state", "", 1),
        entry(5, "TYPE", "unneeded"),
    ]
    assert chosen(entries, "public.a") == (1, 2, 3, 4)
    there = frozenset({("type", "public", "state")})
    assert chosen(entries, "public.a", present=Present(there, is_empty=False)) == (2, 3)
    both = there | {("routine", "public", "f(integer)")}
    assert chosen(entries, "public.a", present=Present(both, is_empty=False)) == (3,)


def test_a_domain_that_comes_along_brings_the_checks_that_are_added_to_it_and_what_they_call() -> None:
    before = [entry(1, "DOMAIN", "d"), entry(2, "DOMAIN", "other"), entry(3, "TABLE", "a", "", 1)]
    before += [entry(4, "FUNCTION", "f(integer)"), entry(5, "FUNCTION", "g(integer)")]
    added = "ALTER DOMAIN public.{}\n    ADD CONSTRAINT p CHECK (public.{}(VALUE)) NOT VALID;\n"
    after = [
        entry(1, "CHECK CONSTRAINT", "d p", added.format("d", "f")),
        entry(2, "CHECK CONSTRAINT", "other p", added.format("other", "g")),
        entry(3, "COMMENT", "CONSTRAINT p ON DOMAIN d", "COMMENT ON …", 1),
    ]
    assert select([before, after], ["public.a"], NOTHING).numbers == ((1, 3, 4), (1, 3))
    there = Present(frozenset({("type", "public", "d")}), is_empty=False)
    assert select([before, after], ["public.a"], there).numbers == ((3,), ())


def test_what_depends_on_the_tables_and_is_not_taken_is_named() -> None:
    entries = [
        *(entry(1, "TABLE", "a"), entry(2, "TABLE", "b"), entry(3, "VIEW", "v", "", 1), entry(4, "VIEW", "w", "", 3)),
        *(entry(5, "VIEW", "x", "", 2), entry(6, "FUNCTION", "f(public.a)", "", 1), entry(7, "VIEW", "there", "", 1)),
        *(entry(8, "POLICY", "b p", "CREATE POLICY p ON public.b USING (true);\n", 2, 1), key(9, "b", "a")),
        *(entry(10, "TABLE DATA", "b", "", 1), entry(11, "COMMENT", "VIEW v", "", 3)),
        entry(12, "PUBLICATION TABLE", "news a", "ALTER PUBLICATION news ADD TABLE ONLY public.a (id);\n", 1),
        entry(13, "PUBLICATION TABLE", "news b", "ALTER PUBLICATION news ADD TABLE ONLY public.b;\n", 2),
    ]
    present = Present(frozenset({("relation", "public", "there")}), is_empty=False)
    found = select([entries], ["public.a"], present)
    assert found.numbers == ((1,),)
    assert found.warnings[1:] == (
        "Chosen tables are not added to the publications that had them: public.a to news.",
        "These depend on the chosen tables, and are not restored with them: view public.v, view public.w, "
        "function public.f(public.a), policy public.b p.",
    )


def test_a_function_that_only_another_archive_calls_comes_along() -> None:
    before = [entry(1, "FUNCTION", "f()"), entry(2, "FUNCTION", "g()"), entry(3, "TABLE", "a")]
    trigger = "CREATE TRIGGER t BEFORE INSERT ON public.a FOR EACH ROW EXECUTE FUNCTION public.f();\n"
    after = [entry(1, "TRIGGER", "a t", trigger)]
    assert select([before, after], ["public.a"], NOTHING).numbers == ((1, 3), (1,))


def test_a_parent_that_is_nowhere_is_named() -> None:
    entries = [entry(1, "TABLE", "parent"), entry(2, "TABLE", "child", "", 1)]
    with pytest.raises(RelationMissing, match=r"table public\.parent"):
        chosen(entries, "public.child")
    there = Present(frozenset({("relation", "public", "parent")}), is_empty=False)
    assert chosen(entries, "public.child", present=there) == (2,)


@pytest.mark.parametrize("container", [Container.CUSTOM, Container.TAR])
@pytest.mark.parametrize("version", [(1, 12), (1, 14), (1, 16)])
def test_the_head_of_an_archive_is_read_and_none_of_it_is_lost(container: Container, version: tuple[int, int]) -> None:
    writer = ArchiveWriter(version, tar=container is Container.TAR)
    writer.entry("TABLE", "public", "orders", definition="CREATE TABLE public.orders (id integer);\n")
    writer.table("public", "orders", [b"1\n", b"\\.\n\n\n"])
    archive = writer.whole()
    for size in (7, 600, len(archive)):
        pieces = [archive[start : start + size] for start in range(0, len(archive), size)]
        entries, content = read_entries(pieces, DumpFormat(container))
        assert [(found.id, found.description, found.schema, found.tag) for found in entries] == [
            (1, "TABLE", "public", "orders"),
            (2, "TABLE DATA", "public", "orders"),
        ]
        assert entries[0].owner == "owner"
        assert entries[0].dependencies == (1, 2)
        assert b"".join(map(bytes, content)) == archive


def test_every_role_that_an_archive_names_is_found() -> None:
    grants = (
        "REVOKE ALL ON TABLE public.a FROM ada;\nGRANT SELECT,INSERT ON TABLE public.a TO reader WITH GRANT OPTION;\n"
        'SET SESSION AUTHORIZATION reader;\nGRANT SELECT ON TABLE public.a TO "Odd ""one";\n'
        "RESET SESSION AUTHORIZATION;\nGRANT SELECT ON TABLE public.a TO PUBLIC;\n"
        'GRANT UPDATE("x TO y") ON TABLE public.a TO writer;\n'
    )
    defaults = "ALTER DEFAULT PRIVILEGES FOR ROLE boss IN SCHEMA public GRANT SELECT ON TABLES TO intern;\n"
    entries = [
        entry(1, "TABLE", "a", "CREATE TABLE public.a (x text DEFAULT 'GRANT x TO nobody');\n"),
        entry(2, "ACL", "TABLE a", grants, owner=""),
        entry(3, "DEFAULT ACL", "DEFAULT PRIVILEGES FOR TABLES", defaults, owner="boss"),
        entry(4, "POLICY", "a p", "CREATE POLICY p ON public.a FOR SELECT TO one, two USING ((x = 'TO three'));\n"),
        entry(5, "POLICY", "a q", "CREATE POLICY q ON public.a TO PUBLIC USING (true);\n"),
        entry(6, "USER MAPPING", "USER MAPPING x SERVER far", 'CREATE USER MAPPING FOR "x y" SERVER far;\n'),
        entry(7, "USER MAPPING", "USER MAPPING public SERVER far", "CREATE USER MAPPING FOR PUBLIC SERVER far;\n"),
    ]
    assert roles_of(entries) == {"ada", "reader", 'Odd "one', "writer", "boss", "intern", "one", "two", "x y"}


def test_the_roles_of_a_backup_are_read_out_of_its_warning() -> None:
    sentence = "Roles are not in the backup, and these own or may use something in it: {}."
    manifest = make_manifest(warnings=("Something else: x, y.", sentence.format("ada, grace and 3 more")))
    assert roles_in_manifest(manifest) == {"ada", "grace"}
    assert roles_in_manifest(make_manifest(warnings=(sentence.format("ada, grace"),))) == {"ada", "grace"}
    assert roles_in_manifest(make_manifest()) == set()
