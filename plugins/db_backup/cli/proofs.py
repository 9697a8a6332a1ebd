"""Proofs as a person and a program read them."""

from __future__ import annotations

from typing import Any

from db_backup.cli.output import say
from db_backup.manifest import Proof
from db_backup.model import ProofResult
from db_backup.summary import BackupSummary


def proof_words(proof: Proof | None) -> str:
    """The result in a few words: never more than was reached."""
    if proof is None:
        return "not verified"
    if proof.result is ProofResult.INCONCLUSIVE:
        return f"inconclusive at {proof.level}" + (f", {proof.reached} passed" if proof.reached else "")
    return f"{proof.result} at {proof.level}"


def last_proof(backup: BackupSummary) -> str:
    """A backup's last proof in a listing: the level that it passed, or what came of it instead."""
    if backup.proof_result is None:
        return "-"
    level = backup.proof_level or "nothing reached"
    return level if backup.proof_result is ProofResult.PASSED else f"{backup.proof_result} ({level})"


def proof_document(backup_id: str, proof: Proof) -> dict[str, Any]:
    """The shape of SPEC §3."""
    return {"backup_id": backup_id, **proof.model_dump(mode="json")}


def print_shortcoming(backup_id: str, proof: Proof) -> None:
    """On stderr, why this proof did not pass; nothing for one that did."""
    if proof.result is ProofResult.PASSED:
        return
    word = "Warning" if proof.result is ProofResult.INCONCLUSIVE else "Error"
    say(f"{word}: the verification of {backup_id} {_CAME_OUT[proof.result]}: {proof.reason}", err=True)
    for difference in proof.differences:
        say(f"  {difference}", err=True)


_CAME_OUT = {ProofResult.FAILED: "failed", ProofResult.INCONCLUSIVE: "was inconclusive"}
