"""The roles that a backup names as owners, or grants something to: a server needs them before it is loaded with those.

They are no part of a backup of one database. What is missing is made without login and without a password.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from psycopg import sql

from db_backup.engines.base import Block
from db_backup.engines.postgres.contents import IDENTIFIER, unquoted
from db_backup.engines.postgres.entries import read_entries
from db_backup.engines.postgres.formats import DumpFormat
from db_backup.engines.postgres.preflight import ROLES_SENTENCE, some
from db_backup.engines.postgres.session import Connection, connected, rows
from db_backup.engines.postgres.toc import Entry
from db_backup.errors import BackupError
from db_backup.manifest import Manifest
from db_backup.model import ConnectionInfo

# PUBLIC stands for everybody and is no role; a role of that name cannot be made.
_ROLE = rb"(?!PUBLIC\b)(" + IDENTIFIER + rb")"
_BETWEEN = rb' (?:[^";]|"(?:[^"]|"")*")*? '  # nothing within a quoted name counts
_IN_GRANTS = (
    re.compile(rb"^(?:GRANT|REVOKE|ALTER DEFAULT PRIVILEGES)" + _BETWEEN + rb"(?:TO|FROM) " + _ROLE, re.MULTILINE),
    re.compile(rb"^SET SESSION AUTHORIZATION " + _ROLE, re.MULTILINE),
    re.compile(rb"^ALTER DEFAULT PRIVILEGES FOR ROLE " + _ROLE, re.MULTILINE),
)
_POLICY_ROLES = re.compile(
    rb"\s*CREATE POLICY " + IDENTIFIER + rb" ON" + _BETWEEN + rb"TO (" + IDENTIFIER + rb"(?:, " + IDENTIFIER + rb")*)"
)
_MAPPED_ROLE = re.compile(rb"\s*CREATE USER MAPPING FOR " + _ROLE)
_CUT_SHORT = re.compile(r" and \d+ more$")


def roles_of(entries: Iterable[Entry]) -> set[str]:
    """Every role that loading these entries with owners and grants needs. Pure."""
    roles: set[str] = set()
    for entry in entries:
        roles.add(entry.owner)
        if entry.description in {"ACL", "DEFAULT ACL"}:
            roles |= {unquoted(match[1]) for pattern in _IN_GRANTS for match in pattern.finditer(entry.definition)}
        elif entry.description == "POLICY" and (match := _POLICY_ROLES.match(entry.definition)):
            roles |= {unquoted(name) for name in re.findall(IDENTIFIER, match[1])}
        elif entry.description == "USER MAPPING" and (match := _MAPPED_ROLE.match(entry.definition)):
            roles.add(unquoted(match[1]))
    return roles - {"", "public"}


def roles_in_manifest(manifest: Manifest) -> set[str]:
    """Those that the backup's own warning names: the only place of a plain dump that tells them."""
    before, _, after = ROLES_SENTENCE.partition("{names}")
    return {
        name
        for warning in manifest.warnings
        if warning.startswith(before)
        for name in _CUT_SHORT.sub("", warning.removeprefix(before).removesuffix(after)).split(", ")
    }


def missing_roles(link: Connection, names: Iterable[str]) -> list[str]:
    there = {name for (name,) in rows(link, "SELECT rolname::text FROM pg_catalog.pg_roles")}
    return sorted(name for name in set(names) - there if not name.startswith("pg_"))


def with_roles_made(
    connection: ConnectionInfo, streams: Sequence[Iterable[Block]], manifest: Manifest
) -> tuple[list[Iterable[Block]], list[str]]:
    """The streams from their beginnings, once every role that they name is there; warnings of those that were made.

    :raises StreamDamaged: one of them is no archive.
    :raises PrivilegeMissing: this user may not make roles.
    """
    dump_format = DumpFormat.parse(manifest.format)
    if not dump_format.is_archive:
        return list(streams), make_missing(connection, roles_in_manifest(manifest), manifest)
    heads = [read_entries(content, dump_format) for content in streams]
    roles = roles_of(entry for entries, _ in heads for entry in entries)
    return [content for _, content in heads], make_missing(connection, roles, manifest)


def make_missing(connection: ConnectionInfo, roles: Iterable[str], manifest: Manifest) -> list[str]:
    """What to warn of.

    :raises PrivilegeMissing: this user may not make roles.
    """
    with connected(connection, entry=manifest.entry) as link:
        return list(_make(link, missing_roles(link, roles)))


@contextmanager
def told_on_failure(made: Iterable[str]) -> Iterator[None]:
    """What was warned of when roles were made says the block's failure as well: they stay."""
    try:
        yield
    except BackupError as error:
        for warning in made:
            error.add_note(f"{warning} They stay.")
        raise


def _make(link: Connection, missing: Sequence[str]) -> Iterator[str]:
    with link.transaction():
        for name in missing:
            link.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(sql.Identifier(name)))
    if missing:
        yield f"These roles were missing and were made without login: {some(missing)}."
