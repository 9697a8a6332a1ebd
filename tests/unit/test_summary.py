"""The summary of a backup: what listings and programs see."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from db_backup.manifest import Chain, Cipher, Copy
from db_backup.model import BackupType, Compression, ProofResult, VerificationLevel
from db_backup.summary import BackupSummary, summarise
from support.factories import MORNING, make_manifest, make_part, make_proof, make_state

pytestmark = pytest.mark.unit

PROMISED = """id database engine type status created_at duration_seconds size_bytes plain_bytes compression encrypted
verified proof_level storages pinned expires_at parts method scope databases recovery_point base_id parent_id"""


def test_every_promised_field_is_there() -> None:
    assert set(PROMISED.split()) <= set(BackupSummary.model_fields)


def test_a_verified_backup_in_full() -> None:
    manifest = make_manifest(warnings=("old server",))

    document = json.loads(summarise(manifest, make_state(manifest, make_proof())).model_dump_json())

    assert document == {
        "id": "backup_shop_full_2026-01-31_03-00-00",
        "database": "shop",
        "engine": "postgres",
        "type": "full",
        "status": "good",
        "created_at": "2026-01-31T03:00:00Z",
        "duration_seconds": 12.5,
        "size_bytes": 4096,
        "plain_bytes": 16384,
        "compression": "gzip",
        "encrypted": False,
        "verified": True,
        "proof_level": "restore",
        "proof_result": "passed",
        "proof_checked_at": "2026-01-31T03:10:00Z",
        "proof_reason": "",
        "restored_at": "2026-01-31T03:10:00Z",
        "restore_seconds": None,
        "restore_setup_seconds": 0.0,
        "storages": ["local"],
        "missing_copies": [],
        "damaged_copies": [],
        "copies": [
            {
                "storage": "local",
                "missing": "",
                "damaged": "",
                "proven_at": "2026-01-31T03:10:00Z",
                "storage_class": "",
            }
        ],
        "cold": [],
        "locked_until": {},
        "pinned": False,
        "legal_hold": False,
        "expires_at": "2026-03-02T03:00:00Z",
        "parts": [
            {
                "path": "backup_shop_full_2026-01-31_03-00-00.dump.gz",
                "size_bytes": 4096,
                "sha256": manifest.parts[0].stored_sha256,
            }
        ],
        "method": "logical",
        "scope": "database",
        "databases": ["shop"],
        "recovery_point": "2026-01-31T03:00:00.250000Z",
        "base_id": None,
        "parent_id": None,
        "rows": 127,
        "tables": 2,
        "warnings": ["old server"],
        "safety": False,
        "log_kept_seconds": None,
    }


def test_a_backup_is_encrypted_only_when_all_its_parts_are() -> None:
    cipher = Cipher(name="AES256_GCM_HKDF_1MB", key_id="k1")
    closed, open_ = make_part("a.gz.enc", cipher=cipher), make_part("b.gz")

    def encrypted(*parts: object) -> bool:
        manifest = make_manifest(parts=parts)
        return summarise(manifest, make_state(manifest)).encrypted

    assert encrypted(closed, closed)
    assert not encrypted(closed, open_)
    assert not encrypted(open_)


def test_what_the_state_says_is_there() -> None:
    manifest = make_manifest()
    copies = tuple(Copy(storage=name, storage_id="1", created_at=MORNING) for name in ("local", "s3"))

    summary = summarise(manifest, make_state(manifest, copies=copies, pinned=True))

    assert (summary.storages, summary.pinned) == (("local", "s3"), True)


def test_an_inconclusive_proof_shows_its_reason_and_the_level_that_stands() -> None:
    manifest = make_manifest()
    tried = make_proof(
        result=ProofResult.INCONCLUSIVE,
        reached=VerificationLevel.ARCHIVE,
        reason="no scratch server",
        checked_at=MORNING + timedelta(days=1),
    )

    summary = summarise(manifest, make_state(manifest, make_proof(level=VerificationLevel.ARCHIVE), tried))

    assert (summary.proof_result, summary.proof_reason) == (ProofResult.INCONCLUSIVE, "no scratch server")
    assert (summary.proof_level, summary.verified) == (VerificationLevel.ARCHIVE, False)


def test_an_incremental_shows_its_chain() -> None:
    manifest = make_manifest(
        type=BackupType.INCREMENTAL,
        chain=Chain(base_id="backup_shop_full_2026-01-30_03-00-00", parent_id="backup_shop_full_2026-01-30_03-00-00"),
        parts=(make_part("wal.zst", compression=Compression.ZSTD),),
    )

    summary = summarise(manifest, make_state(manifest))

    assert summary.base_id == summary.parent_id == "backup_shop_full_2026-01-30_03-00-00"
    assert summary.compression is Compression.ZSTD


@pytest.mark.parametrize(("seconds", "told"), [(4.25, 4.25), (4, 4.0), ("soon", None), (None, None)])
def test_a_timed_restore_says_how_long_it_took(seconds: object, told: float | None) -> None:
    manifest = make_manifest()
    proof = make_proof(evidence={"restore_seconds": seconds})

    assert summarise(manifest, make_state(manifest, proof)).restore_seconds == told


def test_what_a_timed_restore_spent_on_its_scratch_server_is_told_apart() -> None:
    parts = {"restore_seconds": 9.0, "fetch_seconds": 1.5, "load_seconds": 4.0, "check_seconds": 0.5}
    manifest = make_manifest()

    assert summarise(manifest, make_state(manifest, make_proof(evidence=parts))).restore_setup_seconds == 3.0
    del parts["check_seconds"]
    assert summarise(manifest, make_state(manifest, make_proof(evidence=parts))).restore_setup_seconds == 0.0
