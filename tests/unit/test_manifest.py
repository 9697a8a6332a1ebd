"""The sidecars: nothing is lost in a round trip, and nothing strange is taken in."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from pydantic import ValidationError

from db_backup.errors import ManifestError
from db_backup.manifest import Chain, Difference, Manifest, State, Tombstone
from support.factories import MORNING, make_manifest, make_part, make_proof, make_state

pytestmark = pytest.mark.unit


def manifest_fields() -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(make_manifest(chain=Chain(to_position="0/1A2B3C")).to_json())
    return fields


def read_manifest(fields: object) -> Manifest:
    return Manifest.from_json(json.dumps(fields).encode(), source="m.json")


def test_a_manifest_is_read_back_as_it_was_written() -> None:
    manifest = make_manifest(chain=Chain(to_position="0/1A2B3C"), warnings=("größer als üblich",))

    again = Manifest.from_json(manifest.to_json(), source="m.json")

    assert again == manifest
    assert again.to_json() == manifest.to_json()


def test_a_state_is_read_back_as_it_was_written() -> None:
    proof = make_proof(
        differences=(Difference(kind="table", name="orders", expected="1", found="0"),),
        evidence={"rows": 127, "x": [1]},
    )
    tombstone = Tombstone(marked_at=MORNING, reason="expired", actor="ada")
    state = make_state(make_manifest(), proof, pinned=True, suspect_reason="rotten", tombstone=tombstone)

    again = State.from_json(state.to_json(), source="s.json")

    assert again == state
    assert again.to_json() == state.to_json()


def test_unknown_fields_survive_a_round_trip_at_every_depth() -> None:
    fields = manifest_fields()
    fields["new_here"] = {"a": [1, None]}
    fields["parts"][0]["erasure_code"] = "8+3"
    fields["server"]["cluster"] = "blue"
    fields["inventory"]["tables"][0]["bytes"] = 4096

    assert json.loads(read_manifest(fields).to_json()) == fields


def test_unknown_fields_of_a_state_survive_a_rewrite() -> None:
    fields = json.loads(make_state(make_manifest(), make_proof()).to_json())
    fields["new_here"] = True
    fields["proofs"][0]["witness"] = "bob"

    state = State.from_json(json.dumps(fields).encode(), source="s.json")
    rewritten = state.model_copy(update={"pinned": True})

    assert json.loads(rewritten.to_json()) == {**fields, "pinned": True}


def test_a_newer_version_is_refused_and_the_fix_named() -> None:
    with pytest.raises(ManifestError, match="manifest_version 2; this program knows up to 1") as refusal:
        read_manifest({**manifest_fields(), "manifest_version": 2})
    assert "newer" in refusal.value.hint

    with pytest.raises(ManifestError, match="state_version 2; this program knows up to 1"):
        State.from_json(b'{"state_version": 2, "id": "x"}', source="s.json")


@pytest.mark.parametrize("document", [b"", b"{", b"\xff\xfe", b"null", b"[]", b'"manifest"', b"{}", b"not json"])
def test_what_is_no_manifest_is_called_by_its_name(document: bytes) -> None:
    with pytest.raises(ManifestError, match=r"^m\.json is not a manifest: "):
        Manifest.from_json(document, source="m.json")


@pytest.mark.parametrize("version", [None, "1", 1.0, True])
def test_a_version_is_a_whole_number(version: object) -> None:
    with pytest.raises(ManifestError, match="has no manifest_version"):
        read_manifest({**manifest_fields(), "manifest_version": version})


def test_an_invalid_field_is_named_with_its_place() -> None:
    fields = manifest_fields()
    fields["parts"][0]["stored_sha256"] = "beef"

    with pytest.raises(ManifestError, match=r"parts\.0\.stored_sha256"):
        read_manifest(fields)


@pytest.mark.parametrize(
    "path", ["", ".", "..", "../x.gz", "/etc/passwd", "a/b.gz", "..\\x", "a\x00b", "a\nb", "\x1b[31m", "database/x.gz"]
)
def test_a_part_never_leads_out_of_its_folder(path: str) -> None:
    fields = manifest_fields()
    fields["parts"][0]["path"] = path

    with pytest.raises(ManifestError, match="bare file name"):
        read_manifest(fields)


@pytest.mark.parametrize("backup_id", ["", "..", "../../x", "a/b", "a.b", "-x", "a b", "a\n"])
def test_an_id_is_safe_to_name_files_with(backup_id: str) -> None:
    with pytest.raises(ManifestError, match=r"\bid\b"):
        read_manifest({**manifest_fields(), "id": backup_id})
    with pytest.raises(ManifestError, match=r"chain\.parent_id"):
        read_manifest({**manifest_fields(), "chain": {"parent_id": backup_id}})
    with pytest.raises(ManifestError, match=r"\bid\b"):
        State.from_json(json.dumps({"state_version": 1, "id": backup_id}).encode(), source="s.json")


def test_a_backup_without_parts_is_no_backup() -> None:
    with pytest.raises(ManifestError, match="parts"):
        read_manifest({**manifest_fields(), "parts": []})


@pytest.mark.parametrize("field", ["stored_bytes", "plain_bytes"])
def test_sizes_are_not_negative(field: str) -> None:
    with pytest.raises(ValidationError):
        make_part("x.gz", **{field: -1})


def test_times_are_kept_in_utc() -> None:
    summer = timezone(timedelta(hours=2))

    manifest = make_manifest(finished_at=datetime(2026, 7, 1, 1, 0, 0, tzinfo=summer))

    assert manifest.finished_at.tzinfo is UTC
    assert json.loads(manifest.to_json())["finished_at"] == "2026-06-30T23:00:00Z"


def test_a_time_without_zone_is_refused() -> None:
    with pytest.raises(ManifestError, match=r"created_at.*timezone"):
        read_manifest({**manifest_fields(), "created_at": "2026-01-31T03:00:00"})


def test_sizes_and_rows_add_up_over_parts_and_tables() -> None:
    manifest = make_manifest(
        parts=(make_part("a.gz", stored_bytes=10, plain_bytes=100), make_part("b.gz", stored_bytes=5, plain_bytes=7))
    )

    assert (manifest.size_bytes, manifest.plain_bytes, manifest.inventory.rows) == (15, 107, 127)
    assert manifest.duration_seconds == 12.5


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("parts", 0, "stored_bytes"), 10**30),
        (("parts", 0, "plain_bytes"), 2**63),
        (("parts", 0, "level"), -1),
        (("inventory", "tables", 0, "rows"), -1),
        (("inventory", "tables", 0, "rows"), 2**63),
        (("consistency", "binlog_position"), 2**64),
        (("retention_days",), 10**30),
        (("run", "try_number"), 10**30),
        (("entry",), "../x"),
        (("entry",), ""),
        (("databases",), []),
    ],
)
def test_what_no_catalogue_or_folder_can_hold_is_refused_by_name(place: tuple[str | int, ...], value: object) -> None:
    fields = manifest_fields()
    holder: Any = fields
    for step in place[:-1]:
        holder = holder[step]
    holder[place[-1]] = value

    with pytest.raises(ManifestError, match=re.escape(".".join(map(str, place)))):
        read_manifest(fields)


def test_sizes_whose_sum_no_catalogue_can_hold_are_refused() -> None:
    fields = manifest_fields()
    fields["parts"] = [{**fields["parts"][0], "path": name, "stored_bytes": 2**62} for name in ("a.gz", "b.gz")]

    with pytest.raises(ManifestError, match="add up"):
        read_manifest(fields)


def test_endless_nesting_is_no_manifest() -> None:
    with pytest.raises(ManifestError, match=r"^m\.json is not a manifest: "):
        Manifest.from_json(b"[" * 100_000, source="m.json")
