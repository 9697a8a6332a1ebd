"""``db-backup``: parses, calls one use case, presents. Exit codes: SPEC §3."""

from __future__ import annotations

import gc
import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from db_backup import __version__
from db_backup.cli.failures import as_backup_error, print_error
from db_backup.cli.kits import COMMANDS, KitChoice
from db_backup.cli.passphrase import passphrase_option
from db_backup.errors import Interrupted, UsageError

_COMMANDS = {
    "create": "create",
    "list": "listing",
    "verify": "verify",
    "restore": "restore",
    "download": "download",
    "delete": "delete",
    "pin": "pin",
    "unpin": "unpin",
    "replicate": "replicate",
    "cleanup": "cleanup",
    "archive": "archive",
    "health": "health",
    "databases": "databases",
    "storages": "storages",
    "schedules": "schedules",
    "config": "config",
    "catalog": "catalog",
    "keys": "keys",
    "kit": "kit",
    "audit": "audit",
    "logs": "logs",
    "completion": "completion",
}


class _LazyGroup(click.Group):
    """Imports a command when it is asked for, so that `db-backup list` does not load what only restores need.

    ``owns_process``: nothing else runs in this process, nor will.
    """

    owns_process = False

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        with _out_of_collection() if self.owns_process else nullcontext():
            module = importlib.import_module(f"db_backup.cli.commands.{_COMMANDS[cmd_name]}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """click suggests among commands that were imported already, which is none."""
        name = args[0]
        if name not in _COMMANDS and not name.startswith("-") and not ctx.resilient_parsing:
            from db_backup.settings.problems import did_you_mean, nearest

            near = did_you_mean(nearest(name, _COMMANDS)) or "`db-backup --help` lists those there are."
            ctx.fail(f"No such command '{name}'. {near}")
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Names without their help, for which every command would be imported."""
        names = [CompletionItem(name) for name in _COMMANDS if name.startswith(incomplete)]
        return names + click.Command.shell_complete(self, ctx, incomplete)


@contextmanager
def _out_of_collection() -> Iterator[None]:
    """What is made here lives as long as the process: it is never looked through for garbage.

    For modules, whose hundred thousands of objects were looked through again and again while they grew, and once more
    at the end: a fifth of the time of `db-backup list`.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@click.group(
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Exit codes: 0 done; 1 failed; 2 bad usage or configuration; 3 verification failed, health critical or an "
    "objective missed; 4 refused; 130 stopped.",
)
@click.version_option(__version__, prog_name="db-backup")
@click.option(
    "--kit",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Take connections, settings and backup.yaml from this break-glass kit, for this call; what is set in the "
    f"environment wins. For {', '.join(sorted(COMMANDS))}.",
)
@passphrase_option
@click.pass_context
def cli(context: click.Context, kit: Path | None, passphrase_file: str | None) -> None:
    """Back up SQLite, MySQL/MariaDB and PostgreSQL, and prove every backup by restoring it.

    Works with Airflow running, and without it: connections then come from AIRFLOW_CONN_… variables.

    \b
    Examples:
      db-backup databases --check
      db-backup create shop
      db-backup list --database shop --days 7
      db-backup verify --latest --level restore
      db-backup restore backup_shop_full_2026-01-31_03-00-00 --as shop_copy
      db-backup --kit /media/safe/shop.kit.age restore --list
    """
    if kit is not None and context.invoked_subcommand not in COMMANDS:
        raise UsageError(
            f"`db-backup {context.invoked_subcommand}` does not take --kit.",
            hint=f"A kit is for {', '.join(sorted(COMMANDS))}; `db-backup kit import` sets up all the others by it.",
        )
    if kit is None and passphrase_file is not None:
        raise UsageError("--passphrase-file opens a kit, and none is named.", hint="Name it with --kit.")
    context.obj = KitChoice(kit, passphrase_file) if kit is not None else None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; returns its exit code and never raises.

    :param arguments: None: those of this process, which is the command's own.
    """
    cli.owns_process = arguments is None
    try:
        code = cli.main(
            args=None if arguments is None else list(arguments), prog_name="db-backup", standalone_mode=False
        )
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted.", err=True)
        return Interrupted.exit_code
    except Exception as error:  # noqa: BLE001 - a person reads a sentence, whatever happened
        told = as_backup_error(error)
        print_error(told)
        return told.exit_code
    return code if isinstance(code, int) else 0
