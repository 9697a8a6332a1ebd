"""Making a database with the encoding and locale of another, as far as this server has them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import psycopg
from psycopg import sql

from db_backup.engines.postgres.session import Connection, rows, value
from db_backup.manifest import ServerInfo

# No such locale on this server; or one of another encoding (createdb in PostgreSQL's source).
_UNKNOWN_LOCALE = (psycopg.errors.WrongObjectType, psycopg.errors.InvalidParameterValue)
_LOCALE_PROVIDERS = {"i": ("icu", "ICU_LOCALE"), "b": ("builtin", "BUILTIN_LOCALE")}  # pg_database.datlocprovider


def create(link: Connection, database: str, like: ServerInfo | None) -> None:
    """From the pristine template0: like the backup's server, where that can be had, otherwise like the bound database.

    What a manifest knows of a locale is its libc name alone: where both have that, the bound database knows more.

    :raises psycopg.errors.DuplicateDatabase:
    """
    bound, more = _bound_options(link)
    wanted = _options(like)
    if wanted and wanted != bound:
        try:
            link.execute(_statement(database, wanted))
        except _UNKNOWN_LOCALE:
            pass
        else:
            return
    link.execute(_statement(database, bound | more))


def missing_locale(link: Connection, like: ServerInfo, address: str) -> Iterator[str]:
    """A warning, where ``create`` cannot make a database like the backup's. Changes nothing.

    The server looks at the locale before it looks whether the name is taken, as that of the session's database is.
    """
    wanted = _options(like)
    if not wanted:
        return
    try:
        link.execute(_statement(value(link, "SELECT current_database()"), wanted))
    except psycopg.errors.DuplicateDatabase:
        return
    except _UNKNOWN_LOCALE:
        yield (
            f"The server at {address} cannot make a database like that of the backup "
            f"({', '.join(f'{option} {text}' for option, text in wanted.items())}): the new one gets the encoding and "
            "locale of another database there, and may sort otherwise."
        )


def _options(like: ServerInfo | None) -> dict[str, str]:
    """Nothing where the encoding is not known."""
    if like is None or not like.encoding:
        return {}
    options = {"ENCODING": like.encoding, "LC_COLLATE": like.collation, "LC_CTYPE": like.character_type}
    return {option: text for option, text in options.items() if text}


def _bound_options(link: Connection) -> tuple[dict[str, str], dict[str, str]]:
    """Of the session's database: what a manifest tells of one, and what else there is to it."""
    encoding, described = rows(
        link,
        "SELECT pg_catalog.pg_encoding_to_char(encoding), pg_catalog.to_jsonb(d) "
        "FROM pg_catalog.pg_database d WHERE datname = current_database()",
    )[0]
    bound = {"ENCODING": encoding, "LC_COLLATE": described["datcollate"], "LC_CTYPE": described["datctype"]}
    provider = _LOCALE_PROVIDERS.get(described.get("datlocprovider", "c"))
    if provider is None:
        return bound, {}
    name, option = provider
    # The column was renamed in PostgreSQL 17.
    return bound, {"LOCALE_PROVIDER": name, option: described.get("datlocale") or described.get("daticulocale")}


def _statement(database: str, options: Mapping[str, str]) -> sql.Composed:
    return sql.SQL("CREATE DATABASE {} TEMPLATE template0 {}").format(
        sql.Identifier(database),
        sql.SQL(" ").join(sql.SQL(option) + sql.SQL(" ") + sql.Literal(text) for option, text in options.items()),
    )
