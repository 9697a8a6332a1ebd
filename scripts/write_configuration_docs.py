"""Writes docs/configuration.md and .env.example from the definition of the settings.

    python scripts/write_configuration_docs.py

A test fails when either is not what this would write.
"""

from __future__ import annotations

import sys
from enum import StrEnum
from itertools import groupby
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "plugins"))

from db_backup.settings import Settings  # noqa: E402
from db_backup.settings.availability import NOT_YET_VARIABLES  # noqa: E402
from db_backup.settings.definition import details_of  # noqa: E402

_HEAD = """\
<!-- Written by scripts/write_configuration_docs.py from plugins/db_backup/settings. Do not edit. -->

# Configuration

    cp .env.example .env                                   # settings
    cp include/backup.example.yaml include/backup.yaml     # what is backed up
    db-backup config                                       # what holds now, and where each value came from

Three things, each in its place:

- **Settings** are environment variables. A variable in the environment wins over the file `.env` in the project's root,
  and that over the default. An empty value counts as not set.
- **Entries**, the databases that are backed up, are in `include/backup.yaml`. A key of an entry wins over the file's
  `defaults`, and those over the settings. Without the file, the demo database is backed up.
- **Credentials** are in connections, and nowhere else.

What is wrong is refused with exit code 2, all of it at once, each with its place and the fix. What this version does
not have yet is refused by name when it is set away from its default; it is never accepted in silence. A name that
begins with `BACKUP_`, `MYSQL_BACKUP_` or `PGSQL_BACKUP_` and is no setting is refused in `.env`; in the environment it
is left alone, because other programs use these prefixes too.

Relative paths count from the project's root (the folder above `plugins/`; Airflow's home where the package is installed
elsewhere), never from the working folder. `~` and a leading `$AIRFLOW_HOME` are expanded; everything else in `.env` is
taken literally. `AIRFLOW_HOME` itself is read from the environment, and is `~/airflow` where that does not say.

## Settings
"""

_CONNECTIONS = """\
## Entries: `include/backup.yaml`

This is `include/backup.example.yaml`. Commented-out lines are not in this version yet.

```yaml
{example}```

A `level` belongs to its `compression`: an entry that names another compression and no level gets that one's default,
not the level of `defaults`.

## Connections

A `conn_id` is looked up in this order:

1. `AIRFLOW_CONN_<ID>`, with the id in capitals, in the environment or in `.env`. It is read without Airflow, so this
   works when Airflow is down.
2. Airflow: inside a task through its Task SDK; outside of one, if Airflow is set up on this machine, in its secrets
   backend and its metadata database.
3. `car_marketplace_db` alone is there by itself: the demo database, `include/demo/car_marketplace.sqlite`.

With `db-backup --kit FILE`, a variable that the environment does not have comes from the break-glass kit, settings as
well as connections; then `.env` and Airflow. Only `BACKUP_CATALOG_*`, `BACKUP_SCRATCH_PATH`, `BACKUP_STAGING_PATH` and
`BACKUP_FILE_GROUP` do not, which belong to the machine: a kit has a catalogue of its own in `AIRFLOW_HOME`.

The value is Airflow's: a URI whose parts are URL-encoded, or JSON.

    AIRFLOW_CONN_SHOP_DB='postgres://backup:p%40ss@db.example.com:5432/shop?sslmode=require'
    AIRFLOW_CONN_CRM_DB='{{"conn_type": "mysql", "host": "db", "login": "backup", "password": "p@ss", "schema": "crm"}}'
    AIRFLOW_CONN_NOTES_DB='sqlite:////var/lib/notes/notes.sqlite'

Connection types of databases: `postgres` (or `postgresql`), `mysql` (or `mariadb`), `sqlite`. The path of a SQLite
database is absolute with four slashes and counts from the project's root with three. Those of storages (`aws`,
`google_cloud_platform`, `wasb`) and their fields are in [object storage](object-storage.md#connections).
"""


def configuration_page() -> str:
    """The text of docs/configuration.md."""
    sections = [_HEAD]
    for group, fields in groupby(Settings.model_fields.items(), key=lambda item: details_of(item[1])["group"]):
        rows = "".join(_row(name.upper(), field) for name, field in fields)
        sections.append(f"### {group}\n\n| variable | default | what it does |\n|---|---|---|\n{rows}")
    example = (ROOT / "include" / "backup.example.yaml").read_text(encoding="utf-8")
    sections.append(_CONNECTIONS.format(example=example))
    return "\n".join(sections)


def example_environment() -> str:
    """The text of .env.example: every setting at its default, commented out."""
    lines = [
        "# Written by scripts/write_configuration_docs.py. Copy to .env and remove the # of what you change.",
        "# A variable in the environment wins over this file. docs/configuration.md explains every one of them.",
    ]
    for group, fields in groupby(Settings.model_fields.items(), key=lambda item: details_of(item[1])["group"]):
        lines += ["", f"# {group}"]
        for name, field in fields:
            default = details_of(field)["default"]
            lines.append(f"# {field.description}{_not_yet(name.upper())}")
            lines.append(f"#{name.upper()}={'' if '<' in default or '(' in default else default}")
    lines += [
        "",
        "# Connections: AIRFLOW_CONN_<ID in capitals>, as a URI with URL-encoded parts or as JSON.",
        "#AIRFLOW_CONN_SHOP_DB=postgres://user:password@host:5432/shop",
        "",
    ]
    return "\n".join(lines)


def _row(name: str, field: Any) -> str:
    details = details_of(field)
    default = f"`{details['default']}`" if details["default"] else "empty"
    unit = f" {details['unit']}" if details["unit"] else ""
    text = f"{field.description}{_values(field.annotation)}{_not_yet(name)}".replace("|", "\\|")
    return f"| `{name}` | {default}{unit} | {text} |\n"


def _values(annotation: Any) -> str:
    if not (isinstance(annotation, type) and issubclass(annotation, StrEnum)):
        return ""
    return f" One of {', '.join(f'`{value}`' for value in annotation)}."


def _not_yet(name: str) -> str:
    return " Not in this version yet." if name in NOT_YET_VARIABLES else ""


def main() -> None:
    (ROOT / "docs").mkdir(exist_ok=True)
    (ROOT / "docs" / "configuration.md").write_text(configuration_page(), encoding="utf-8")
    (ROOT / ".env.example").write_text(example_environment(), encoding="utf-8")


if __name__ == "__main__":
    main()
