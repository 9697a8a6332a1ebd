"""db-backup config"""

from __future__ import annotations

import click

from db_backup.cli.output import print_json, print_table
from db_backup.cli.runtime import json_option
from db_backup.config import StorageConfig, load_config
from db_backup.connections import usual_connection
from db_backup.jobs.catalogue import catalog_name
from db_backup.settings import load_settings


@click.command("config")
@json_option
def command(as_json: bool) -> None:
    """Show every setting: its effective value and where it came from, secrets masked; storages and entries.

    \b
    Examples:
      db-backup config
      db-backup config --json
    """
    settings = load_settings()
    config = load_config(settings)
    effective = settings.effective()
    catalogue = catalog_name(settings)
    if as_json:
        print_json(
            {
                "settings": [item.model_dump(mode="json") for item in effective],
                "file": str(config.path) if config.path else None,
                "databases": list(config.entries),
                "storages": [_described(storage) for storage in config.storages.values()],
                "catalog": catalogue,
            }
        )
        return
    print_table(("SETTING", "VALUE", "FROM"), [(item.name, item.value, item.source) for item in effective])
    click.echo(f"Catalogue: {catalogue}")
    click.echo(f"Storages: {', '.join(_in_words(storage) for storage in config.storages.values())}")
    click.echo(f"Databases: {', '.join(config.entries)} (from {config.path or 'the built-in demo configuration'})")


def _described(storage: StorageConfig) -> dict[str, object]:
    return {
        "name": storage.name,
        "kind": storage.kind,
        "location": str(storage.address),
        "conn_id": storage.conn_id or usual_connection(storage.kind),
        "off_site": storage.off_site,
    }


def _in_words(storage: StorageConfig) -> str:
    conn_id = storage.conn_id or usual_connection(storage.kind)
    return f"{storage.name} ({storage.address}{f' by {conn_id}' if conn_id else ''})"
