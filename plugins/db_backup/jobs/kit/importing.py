"""Importing a kit: ``include/backup.yaml`` and ``.env`` in a place that has neither."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

from dotenv.parser import parse_stream

from db_backup.catalog import AuditAct
from db_backup.errors import BackupError, KitError
from db_backup.frozen import FrozenModel
from db_backup.jobs.acts import audited
from db_backup.jobs.kit.document import Kit
from db_backup.jobs.kit.using import CATALOGUE_VARIABLES
from db_backup.jobs.new_file import new_file, refuse_taken
from db_backup.jobs.workspace import Workspace
from db_backup.manifest import RunInfo
from db_backup.settings import load_settings, project_root

_TAKEN = "Import into another folder with --into, or move it away first."
_PLAIN = re.compile(r"[\w./:,@%+-]*")
_HEAD = "# Written by `db-backup kit import`: settings, and connections with their passwords. Keep it to yourself.\n"


class ImportReport(FrozenModel):
    """``files``: what was written. ``in_use``: whether that is where this program reads them from."""

    files: tuple[Path, ...]
    folder: Path
    in_use: bool
    connections: tuple[str, ...]
    warnings: tuple[str, ...]


def import_kit(kit: Kit, folder: Path | None, *, run: RunInfo) -> ImportReport:
    """Write what is in the kit into a folder, for good; all of it or nothing. Keys go to where the keyring looks.

    :param folder: None: the project's root, where it takes effect at once.
    :raises Refused: one of the files is there already.
    :raises BackupError: a file cannot be written.
    """
    root = project_root()
    place = (folder or root).absolute()
    documents = {place / ".env": dotenv_text(kit.variables())}
    if kit.configuration is not None:
        documents[place / "include" / "backup.yaml"] = kit.configuration
    keys = _keys_folder(kit) if place == root else place / "db_backup_keys"
    documents |= {keys / name: text for name, text in kit.keys.items() if not _is_there(keys / name, text)}
    for path in documents:
        refuse_taken(path, replace=False, taken=_TAKEN)
    with _opened(kit) as workspace, audited(workspace, AuditAct.KIT_IMPORT, run) as act:
        act.detail = f"into {place}"
        if workspace.catalog_lost is not None:
            workspace.warnings.append(f"The catalogue lacks this act: {workspace.catalog_lost.message}")
        with ExitStack() as undo:
            for path, text in documents.items():
                _make_folder(path.parent)
                with new_file(path, replace=False, taken=_TAKEN, elsewhere="with --into") as output:
                    output.write(text.encode())
                undo.callback(path.unlink)
            undo.pop_all()
    return ImportReport(
        files=tuple(documents),
        folder=place,
        in_use=place == root,
        connections=tuple(kit.connections),
        warnings=tuple(workspace.warnings),
    )


def _keys_folder(kit: Kit) -> Path:
    """Where the keyring will look for them here."""
    return load_settings(kit.environment(os.environ)).backup_keys_path


def _is_there(path: Path, text: str) -> bool:
    """Whether the same key lies there already: of all that a kit holds, a key is what most often survives."""
    try:
        return path.read_text() == text
    except (OSError, UnicodeDecodeError):
        return False


def _opened(kit: Kit) -> Workspace:
    """What the kit will be here, to write the import down in its catalogue, and in its storage if that is mounted."""
    environment = kit.environment(os.environ)
    catalogue = {name: kit.settings[name] for name in CATALOGUE_VARIABLES if name in kit.settings}
    workspace = Workspace.open_without_need_of_catalogue({**catalogue, **environment}, configuration=kit.configuration)
    workspace.break_glass = True
    return workspace


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BackupError(
            f"{folder} cannot be made: {error.strerror}.",
            hint="Choose a folder that you may write to, with --into.",
        ) from error


def dotenv_text(variables: Mapping[str, str]) -> str:
    """The text of a ``.env`` file that holds exactly these.

    :raises KitError: a value would not be read again as it is.
    """
    text = _HEAD + "".join(_lines(variables))
    as_read = io.StringIO(text, newline=None)  # with the line ends that reading a file gives
    read = {binding.key: binding.value for binding in parse_stream(as_read) if binding.key}
    if lost := sorted(name for name, value in variables.items() if read.get(name) != value):
        raise KitError(
            f"{', '.join(lost)} of the kit cannot be written into a .env file.",
            hint="Use the kit with --kit, or open it with `age -d` and write these by hand.",
        )
    return text


def _lines(variables: Mapping[str, str]) -> Iterator[str]:
    for name, value in variables.items():
        quoted = value if _PLAIN.fullmatch(value) else "'" + re.sub(r"([\\'])", r"\\\1", value) + "'"
        yield f"{name}={quoted}\n"
