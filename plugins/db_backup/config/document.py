"""A YAML file as plain values that remember their lines, with what YAML lets pass: keys given twice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from db_backup.errors import ConfigurationError
from db_backup.settings.problems import Problem

Location = tuple[str | int, ...]
_Above = tuple[yaml.Node, ...]


@dataclass
class Document:
    """``content`` holds dicts (keys are texts), lists and scalars; ``lines`` counts from 1, by location."""

    content: object = None
    lines: dict[Location, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def line_of(self, location: Location) -> int:
        """The line of a place, or of the nearest one around it that is there."""
        while location and location not in self.lines:
            location = location[:-1]
        return self.lines.get(location, 1)

    def problem(
        self, location: Location, what: str, fix: str, *, not_yet: bool = False, line: int | None = None
    ) -> Problem:
        """A problem at a place, told as ``line 12, databases.shop.level``."""
        line = self.line_of(location) if line is None else line
        where = f"line {line}, {dotted(location)}" if location else f"line {line}"
        return Problem(where, what, fix, not_yet, line)


def dotted(location: Location) -> str:
    """``databases.shop.types[1]``."""
    text = ""
    for step in location:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def read_document(path: Path, shown: str) -> Document:
    """Read a YAML file.

    :param shown: the file as messages name it.
    :raises ConfigurationError: it cannot be read, or is not YAML; the line is named.
    """
    return parse_document(read_text(path, shown), shown)


def read_text(path: Path, shown: str) -> str:
    """The file as it is, comments and all.

    :raises ConfigurationError: it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigurationError(
            f"{shown} cannot be read: {reason}.",
            hint="Make it a file that the user who runs this can read, or point BACKUP_CONFIG at another.",
        ) from error


def parse_document(text: str, shown: str) -> Document:
    """:raises ConfigurationError: it is not YAML; the line is named."""
    document = Document()
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is not None:
            document.content = _Reader(loader, document).value(node, (), ())
    except yaml.YAMLError as error:
        raise _not_yaml(shown, error) from error
    except RecursionError:
        raise ConfigurationError(
            f"{shown} is nested too deeply, or refers to itself.", hint="Replace its aliases by what they stand for."
        ) from None
    return document


def _not_yaml(shown: str, error: yaml.YAMLError) -> ConfigurationError:
    mark = error.problem_mark or error.context_mark if isinstance(error, yaml.MarkedYAMLError) else None
    reason = (error.problem if isinstance(error, yaml.MarkedYAMLError) else None) or "a character that YAML forbids"
    if mark is None:
        return ConfigurationError(f"{shown} is not YAML: {reason}.", hint="Remove it.")
    return ConfigurationError(
        f"{shown}, line {mark.line + 1}, column {mark.column + 1}: not YAML: {reason}.",
        hint="Look at this line and the one before it: indent with spaces, end keys with a colon, "
        "quote texts that hold any of : # { } [ ] * & !",
    )


class _Reader:
    """Turns nodes into values. Scalars are built by YAML's safe constructor; keys are taken as they are written."""

    def __init__(self, loader: yaml.SafeLoader, document: Document) -> None:
        self._loader = loader
        self._document = document

    def value(self, node: yaml.Node, location: Location, above: _Above) -> object:
        self._document.lines.setdefault(location, node.start_mark.line + 1)
        if any(node is other for other in above):
            self._complain(location, "this refers to itself.", "Replace the alias by what it stands for.")
            return None
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, location, (*above, node))
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*location, index), (*above, node)) for index, item in enumerate(node.value)]
        return self._scalar(node, location)

    def _scalar(self, node: yaml.Node, location: Location) -> object:
        try:
            return self._loader.construct_object(node)
        except ValueError as error:  # 2026-02-31 looks like a date and is none
            self._complain(location, f"'{node.value}' cannot be read: {error}.", "Quote it.")
            return None

    def _mapping(
        self, node: yaml.MappingNode, location: Location, above: tuple[yaml.Node, ...]
    ) -> Mapping[str, object]:
        self._find_duplicates(node, location)
        self._loader.flatten_mapping(node)  # "<<: *anchor"
        values = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._complain(location, "a key is a list or a mapping.", "Make it a plain text.")
                continue
            inner = (*location, key_node.value)
            self._document.lines[inner] = key_node.start_mark.line + 1
            values[key_node.value] = self.value(value_node, inner, above)
        return values

    def _find_duplicates(self, node: yaml.MappingNode, location: Location) -> None:
        seen: dict[str, int] = {}
        for key_node, _ in node.value:
            if isinstance(key_node, yaml.ScalarNode):
                line = key_node.start_mark.line + 1
                first = seen.setdefault(key_node.value, line)
                if first != line:
                    what = f"this key is there already, in line {first}."
                    self._complain((*location, key_node.value), what, "Keep one of them, or rename it.", line)

    def _complain(self, location: Location, what: str, fix: str, line: int | None = None) -> None:
        self._document.problems.append(self._document.problem(location, what, fix, line=line))
