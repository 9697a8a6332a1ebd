"""One way to tell a person what is wrong with a setting or a key: where, what, and the fix; all of it at once."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pydantic_core import ErrorDetails

from db_backup.errors import ConfigurationError, FeatureNotAvailable


@dataclass(frozen=True)
class Problem:
    """``where``: a variable, or line and key. ``what``: a sentence without a secret. ``fix``: a sentence, or empty."""

    where: str
    what: str
    fix: str = ""
    not_yet: bool = False
    line: int = 0  # of a file, from 1; problems are told in this order


class WrongValue(ValueError):
    """A value that a validator refuses.

    :param allowed: completes "… is not": "a time of day as HH:MM".
    :param nearest: the valid value that was probably meant.
    """

    def __init__(self, allowed: str, nearest: str | None = None) -> None:
        super().__init__(allowed)
        self.allowed = allowed
        self.nearest = nearest


def nearest(text: str, known: Iterable[str]) -> str | None:
    """The known word that was probably meant; a last part counts too ("berlin" means "Europe/Berlin")."""
    by_lower = {word.lower(): word for word in sorted(known)}
    lowered = text.strip().lower()
    for spelled, word in by_lower.items():
        if lowered and lowered in {spelled, spelled.rpartition("/")[2]}:
            return word
    close = difflib.get_close_matches(lowered, by_lower, n=1, cutoff=0.5)
    return by_lower[close[0]] if close else None


def did_you_mean(word: str | None) -> str:
    return f"Did you mean '{word}'?" if word else ""


_BOOLEANS = {"true": "true", "false": "false", "yes": "true", "no": "false", "on": "true", "off": "false"}
_SHAPES = {
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "string_type": "a text",
    "dict_type": "a mapping of keys and values",
    "model_type": "a mapping of keys and values",
    "model_attributes_type": "a mapping of keys and values",
    "tuple_type": "a list",
    "list_type": "a list",
}


def explain(error: ErrorDetails, *, show_value: bool = True) -> tuple[str, str]:
    """What pydantic found wrong with a value, and the fix, as two sentences.

    :param show_value: False where the value may be a secret.
    """
    allowed, suggestion = _allowed(error)
    given = error["input"]
    if not show_value:
        shown = "the value"
    elif isinstance(given, bool):
        shown = f"'{str(given).lower()}'"
    elif given is None:
        shown = "an empty value"
    elif isinstance(given, str | int | float):
        shown = f"'{given}'"
    else:
        shown = "a list" if isinstance(given, list) else "a mapping"
    return f"{shown} is not {allowed}.", did_you_mean(suggestion) if show_value else ""


def _allowed(error: ErrorDetails) -> tuple[str, str | None]:
    kind, context, text = error["type"], error.get("ctx", {}), str(error["input"])
    cause = context.get("error")
    if isinstance(cause, WrongValue):
        return cause.allowed, cause.nearest
    if kind in {"enum", "literal_error"}:
        words = re.findall(r"'([^']*)'", context["expected"]) or [context["expected"]]
        return (f"one of {', '.join(words)}" if len(words) > 1 else words[0]), nearest(text, words)
    limit = {"greater_than_equal": "at least", "less_than_equal": "at most"}.get(kind)
    if limit:
        bound = context.get("ge", context.get("le"))
        return f"a whole number of {limit} {bound}", None  # a bound may mean something else: 0 is "no limit"
    suggestion = None
    if kind.startswith("bool"):
        suggestion = _BOOLEANS.get(nearest(text, _BOOLEANS) or "")
    elif kind.startswith("int") and re.fullmatch(r"\s*-?\d+(\.\d+)?\s*", text):
        suggestion = str(round(float(text)))
    return _SHAPES.get(kind, f"valid: {error['msg'].removeprefix('Value error, ')}"), suggestion


def refusal(source: str, problems: Sequence[Problem]) -> ConfigurationError:
    """One error that names all problems: FeatureNotAvailable when all of them ask for what is not there yet.

    :param source: what they are of, as the sentence begins: "include/backup.yaml".
    """
    kind = FeatureNotAvailable if all(problem.not_yet for problem in problems) else ConfigurationError
    if len(problems) == 1:
        only = problems[0]
        return kind(f"{source}, {only.where}: {only.what}", hint=only.fix)
    ordered = sorted(problems, key=lambda problem: problem.line)
    lines = [f"- {problem.where}: {problem.what} {problem.fix}".rstrip() for problem in ordered]
    return kind("\n".join([f"{source}: {len(problems)} problems.", *lines]))
