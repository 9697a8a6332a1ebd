"""Write the JSON schemas of manifest and state, as their models are, into a folder (docs/formats by default)."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from pydantic import BaseModel

from db_backup.manifest import MANIFEST_VERSION, STATE_VERSION, Manifest, State

FORMATS = Path(__file__).parents[1] / "docs" / "formats"
SCHEMAS: dict[str, type[BaseModel]] = {
    f"manifest-v{MANIFEST_VERSION}.schema.json": Manifest,
    f"state-v{STATE_VERSION}.schema.json": State,
}


def write_schemas(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, model in SCHEMAS.items():
        schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **model.model_json_schema()}
        version = next(field for field in model.model_fields if field.endswith("_version"))
        schema["required"] = [version, *schema["required"]]  # new documents get it by default; readers insist on it
        (folder / name).write_text(json.dumps(schema, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write_schemas(Path(sys.argv[1]) if len(sys.argv) > 1 else FORMATS)
