"""db-backup completion"""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

_PROGRAM = "db-backup"


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    """Print a script that makes SHELL complete commands, options, databases and backups of db-backup.

    \b
    Put into ~/.bashrc:                       eval "$(db-backup completion bash)"
    Put into ~/.zshrc:                        eval "$(db-backup completion zsh)"
    Put into ~/.config/fish/config.fish:      db-backup completion fish | source

    \b
    Examples:
      db-backup completion bash
      db-backup completion zsh
      db-backup completion fish
    """
    completion = get_completion_class(shell)
    assert completion is not None  # noqa: S101 - click has all three
    root = context.find_root().command
    variable = f"_{_PROGRAM.replace('-', '_').upper()}_COMPLETE"
    click.echo(completion(root, {}, _PROGRAM, variable).source())
