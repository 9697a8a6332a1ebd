"""What Airflow finds by the entry point ``apache_airflow_provider``: the commands ``airflow backup …``.

Only an installed distribution is found (``pip install``, also ``-e``); the operators and DAGs need none of this.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.cli.cli_config import CLICommand


def get_provider_info() -> dict[str, Any]:
    """Called by every Airflow process that looks at its providers: nothing is imported here."""
    return {
        "package-name": "airflow-db-backup",
        "name": "DB Backup",
        "description": "Proven database backups: SQLite, MySQL/MariaDB and PostgreSQL.",
        "cli": ["db_backup.provider.cli_commands"],
    }


def cli_commands() -> list[CLICommand]:
    """``airflow backup``: everything after it goes to ``db-backup`` as it was typed, ``--help`` too."""
    from airflow.cli.cli_config import ActionCommand, Arg

    class AllArguments(Arg):
        """Every remaining word, options included, for a parser other than argparse."""

        def add_to_parser(self, parser: argparse.ArgumentParser) -> None:
            parser.prefix_chars = "\0"  # no word of a command line begins with it: nothing here is argparse's option
            super().add_to_parser(parser)

    everything = AllArguments(("arguments",), nargs=argparse.REMAINDER)  # type: ignore[no-untyped-call]
    return [
        ActionCommand(
            name="backup",
            help="Back up, verify and restore databases (the same as db-backup)",
            func=_run,
            args=(everything,),
        )
    ]


def _run(arguments: argparse.Namespace) -> None:
    from airflow.cli.utils import redirect_stdout_log_handlers_to_stderr

    from db_backup.cli.main import main

    redirect_stdout_log_handlers_to_stderr()  # stdout is the command's own: with --json one document
    sys.exit(main(arguments.arguments))
