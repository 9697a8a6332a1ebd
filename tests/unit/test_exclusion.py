"""Which tables' rows a backup leaves out."""

from __future__ import annotations

import pytest

from db_backup.engines.exclusion import Exclusion, choose, refuse_dangling
from db_backup.errors import ConfigurationError

pytestmark = pytest.mark.unit

TABLES = {
    "public.sessions": "sessions",
    "app.sessions": "sessions",
    "public.cache_a": "cache_a",
    "public.Cache_b": "Cache_b",
    "public.orders": "orders",
}


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["sessions"], ("app.sessions", "public.sessions")),
        (["app.sessions"], ("app.sessions",)),
        (["app.*"], ("app.sessions",)),
        (["cache_*"], ("public.cache_a",)),
        (["[cC]ache_?"], ("public.Cache_b", "public.cache_a")),
        (["*"], tuple(sorted(TABLES))),
        ([], ()),
    ],
)
def test_a_pattern_is_held_against_the_whole_and_the_bare_name(patterns: list[str], expected: tuple[str, ...]) -> None:
    assert choose(TABLES, patterns).tables == expected


def test_what_is_left_out_is_told() -> None:
    (warning,) = choose(TABLES, ["sessions"]).warnings
    assert "app.sessions, public.sessions" in warning


def test_a_long_list_is_told_in_short() -> None:
    (warning,) = choose({f"t{number:02}": f"t{number:02}" for number in range(30)}, ["t*"]).warnings
    assert "t00" in warning
    assert "20 more" in warning


def test_a_pattern_that_matches_nothing_is_told() -> None:
    chosen = choose(TABLES, ["sesions", "sesions", "orders"])
    assert chosen.tables == ("public.orders",)
    assert sum("'sesions'" in warning for warning in chosen.warnings) == 1


def test_rows_that_another_table_refers_to_cannot_be_left_out() -> None:
    with pytest.raises(ConfigurationError, match=r"'shop'.*customers.*orders") as caught:
        refuse_dangling(Exclusion(("customers",)), [("orders", "customers")], "shop")
    assert "orders" in caught.value.hint


@pytest.mark.parametrize(
    "references",
    [
        [("customers", "customers")],
        [("orders", "customers"), ("customers", "regions")],
        [("lines", "products")],
    ],
)
def test_rows_that_only_left_out_tables_refer_to_may_be_left_out(references: list[tuple[str, str]]) -> None:
    refuse_dangling(Exclusion(("customers", "orders")), references, "shop")
