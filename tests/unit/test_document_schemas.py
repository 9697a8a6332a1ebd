"""The published JSON schemas of the sidecars are those of the code."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from support.factories import make_manifest, make_proof, make_state

pytestmark = pytest.mark.unit

PROJECT = Path(__file__).parents[2]
FORMATS = PROJECT / "docs" / "formats"


def validator(name: str) -> Draft202012Validator:
    schema = json.loads((FORMATS / name).read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def manifest_fields() -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(make_manifest().to_json())
    return fields


def test_the_published_schemas_are_current(tmp_path: Path) -> None:
    subprocess.run([sys.executable, PROJECT / "scripts" / "write_schemas.py", tmp_path], check=True, timeout=60)

    written = {file.name: file.read_text(encoding="utf-8") for file in tmp_path.iterdir()}
    published = {file.name: file.read_text(encoding="utf-8") for file in FORMATS.glob("*.json")}
    assert published == written, "run `python scripts/write_schemas.py`"


def test_what_the_code_writes_meets_the_schemas() -> None:
    manifest = make_manifest()

    validator("manifest-v1.schema.json").validate(json.loads(manifest.to_json()))
    validator("state-v1.schema.json").validate(json.loads(make_state(manifest, make_proof()).to_json()))


def test_the_schemas_allow_fields_of_later_versions() -> None:
    validator("manifest-v1.schema.json").validate({**manifest_fields(), "new_here": 1})


@pytest.mark.parametrize(
    "wrong",
    [{"id": "../x"}, {"parts": []}, {"type": "weekly"}, {"inventory": None}],
    ids=lambda wrong: next(iter(wrong)),
)
def test_the_schemas_refuse_what_the_code_refuses(wrong: dict[str, Any]) -> None:
    assert not validator("manifest-v1.schema.json").is_valid({**manifest_fields(), **wrong})


@pytest.mark.parametrize("field", ["manifest_version", "id", "parts", "run"])
def test_the_schema_refuses_a_document_without_what_readers_need(field: str) -> None:
    fields = manifest_fields()
    del fields[field]

    assert not validator("manifest-v1.schema.json").is_valid(fields)


def test_the_schema_refuses_a_part_outside_its_folder() -> None:
    fields = manifest_fields()
    fields["parts"][0]["path"] = "../x.gz"

    assert not validator("manifest-v1.schema.json").is_valid(fields)
