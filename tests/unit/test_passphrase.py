"""The passphrase of a kit out of a file: its first line, whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from db_backup.cli.passphrase import passphrase_from
from db_backup.errors import UsageError

pytestmark = pytest.mark.unit

#: Characters at which str.splitlines ends a line, and no editor does.
INNER = ("\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029", "a\rb")


@pytest.mark.parametrize("inner", INNER, ids=repr)
@pytest.mark.parametrize("ending", ["", "\n", "\r\n", "\nanother line\n"], ids=repr)
def test_only_the_end_of_a_line_ends_a_passphrase(tmp_path: Path, inner: str, ending: str) -> None:
    passphrase = f"correct horse{inner}battery"
    (tmp_path / "passphrase").write_bytes(f"{passphrase}{ending}".encode())
    assert passphrase_from(str(tmp_path / "passphrase")) == passphrase


@pytest.mark.parametrize("content", ["", "\n", "\r\n", "\nsecond line"], ids=repr)
def test_an_empty_first_line_is_no_passphrase(tmp_path: Path, content: str) -> None:
    (tmp_path / "passphrase").write_bytes(content.encode())
    with pytest.raises(UsageError, match="There is no passphrase"):
        passphrase_from(str(tmp_path / "passphrase"))
