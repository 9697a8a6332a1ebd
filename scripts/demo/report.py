"""What a run has left in the storage: its backups, read from their manifests, and their proofs, from their states."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.markup import escape

from db_backup import standing
from db_backup.manifest import Manifest, Proof, State
from db_backup.model import ProofResult
from db_backup.naming import DATABASE_FOLDER, METADATA_FOLDER
from db_backup.units import human_bytes, human_duration
from scripts.demo.installation import ROOT, STORAGE

_STATE_SUFFIX = ".state.json"


def backups_of_run(run_id: str) -> list[tuple[Manifest, State]]:
    """:raises ManifestError: a sidecar cannot be read."""
    return [(manifest, state) for manifest, state in _stored() if manifest.run.run_id == run_id]


def _stored() -> Iterator[tuple[Manifest, State]]:
    for path in sorted((STORAGE / METADATA_FOLDER).glob("backup_*.json")):
        if path.name.endswith(_STATE_SUFFIX):
            continue
        manifest = Manifest.from_json(path.read_bytes(), source=str(path))
        state_path = path.with_name(f"{manifest.id}{_STATE_SUFFIX}")
        try:
            state = State.from_json(state_path.read_bytes(), source=str(state_path))
        except FileNotFoundError:
            state = State(id=manifest.id)
        yield manifest, state


def print_backup(console: Console, manifest: Manifest, state: State) -> None:
    part = manifest.parts[0]
    tables = len(manifest.inventory.tables)
    rows = [
        ("Backup", f"[bold]{manifest.id}[/]"),
        ("", f"{manifest.inventory.rows:,} rows of {tables} tables, {human_bytes(manifest.plain_bytes)}"),
        ("", f"{human_bytes(manifest.size_bytes)} stored ({part.compression}), in {_seconds(manifest)}"),
        ("Proof", _proof(standing.newest_proof(state))),
    ]
    rows += [("Warning", escape(warning)) for warning in manifest.warnings]
    storage = STORAGE.relative_to(ROOT)
    rows += [("Files", f"{storage / DATABASE_FOLDER / part.path}") for part in manifest.parts]
    rows.append(("", f"{storage / METADATA_FOLDER / manifest.id}.json"))
    for label, text in rows:
        console.print(f"  [dim]{label:8}[/] {text}", soft_wrap=True)


def _seconds(manifest: Manifest) -> str:
    return human_duration(manifest.duration_seconds)


def _proof(proof: Proof | None) -> str:
    if proof is None:
        return "[red]none[/]"
    took = human_duration(proof.duration_seconds)
    if proof.result is ProofResult.PASSED:
        return f"[green]passed at level {proof.level}[/], {len(proof.differences)} differences, in {took}"
    if proof.result is ProofResult.INCONCLUSIVE:
        reached = f"reached level {proof.reached}" if proof.reached else "reached no level"
        return f"[yellow]inconclusive[/] at level {proof.level}, {reached}: {escape(proof.reason)}"
    found = "; ".join(str(difference) for difference in proof.differences) or proof.reason
    return f"[red]failed at level {proof.level}[/]: {escape(found)}"
