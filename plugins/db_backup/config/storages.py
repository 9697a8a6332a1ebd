"""Storages: what the file and BACKUP_CLOUD_* configure together, and where the two contradict each other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from db_backup.config.document import Document
from db_backup.config.entry import StorageConfig
from db_backup.config.schema import MOST_PARTS, FileKeys
from db_backup.model import LOCAL_STORAGE
from db_backup.settings import Settings
from db_backup.settings.addresses import StorageAddress, StorageKind
from db_backup.settings.problems import Problem, WrongValue, did_you_mean, nearest
from db_backup.storage_classes import AZURE_TIERS, GCS_CLASSES, S3_CLASSES

_CLASSES: Mapping[StorageKind, tuple[str, ...]] = {
    StorageKind.S3: tuple(one.name for one in S3_CLASSES),
    StorageKind.GCS: tuple(one.name for one in GCS_CLASSES),
    StorageKind.AZURE: tuple(one.name for one in AZURE_TIERS),
}
#: Keys that mean nothing of a folder.
_OF_CLOUDS = ("conn_id", "max_parts", "object_lock", "archive")


def resolve_storages(keys: FileKeys, settings: Settings) -> dict[str, StorageConfig]:
    """The storages by name: ``local`` from BACKUP_LOCAL_PATH first, those of the file, that of BACKUP_CLOUD_URL."""
    storages = {LOCAL_STORAGE: StorageConfig(LOCAL_STORAGE, settings.backup_local_path.as_uri())}
    cloud = settings.backup_cloud_disk
    for name, storage in (keys.storages or {}).items():
        storages[name] = StorageConfig(
            name,
            storage.url,
            storage.conn_id,
            storage.max_parts or MOST_PARTS,
            off_site=_is_cloud(name, settings) if storage.off_site is None else storage.off_site,
            object_lock=storage.object_lock,
            archive=storage.archive,
            quota_mb=storage.quota_mb,
        )
    if settings.backup_cloud_url and cloud not in storages:
        storages[cloud] = StorageConfig(cloud, settings.backup_cloud_url, off_site=True)
    return storages


def usual_storages(settings: Settings) -> tuple[str, ...]:
    """Where backups go of an entry that names no storages."""
    cloud = (settings.backup_cloud_disk,) if settings.backup_cloud_enabled else ()
    return tuple(dict.fromkeys((settings.backup_storage_disk, *cloud)))


def storage_names(listed: Iterable[str], settings: Settings) -> set[str]:
    """Every storage that there is.

    :param listed: those that the file lists.
    """
    return {LOCAL_STORAGE, *listed, *((settings.backup_cloud_disk,) if settings.backup_cloud_url else ())}


def contradictions(keys: FileKeys, settings: Settings) -> Iterator[Problem]:
    """What the settings say of storages that cannot be, the file being right."""
    cloud, url = settings.backup_cloud_disk, settings.backup_cloud_url
    listed = keys.storages or {}
    known = storage_names(listed, settings)
    if settings.backup_cloud_enabled and cloud not in known:
        what = f"backups shall go to '{cloud}' as well, and nothing says where that is."
        fix = "Set BACKUP_CLOUD_URL=s3://bucket/prefix, or add it under storages: in backup.yaml."
        yield _about("BACKUP_CLOUD_ENABLED", settings, what, fix)
    if url and cloud in listed and StorageAddress.parse(url) != StorageAddress.parse(listed[cloud].url):
        what = f"it is not the address that backup.yaml gives '{cloud}'."
        fix = "Remove BACKUP_CLOUD_URL, or make the two the same."
        yield _about("BACKUP_CLOUD_URL", settings, what, fix)
    disk = settings.backup_storage_disk
    if disk not in known:
        fix = did_you_mean(nearest(disk, known)) or f"Add it under storages: in backup.yaml, or use {LOCAL_STORAGE}."
        yield _about("BACKUP_STORAGE_DISK", settings, f"there is no storage '{disk}'.", fix)
    if not settings.backup_keep_local_copy and known == {LOCAL_STORAGE}:
        what = "the local copy shall go once another storage has the backup, and there is no other storage."
        fix = "Set BACKUP_CLOUD_ENABLED=true and BACKUP_CLOUD_URL, or remove BACKUP_KEEP_LOCAL_COPY."
        yield _about("BACKUP_KEEP_LOCAL_COPY", settings, what, fix)


def broken_storages(document: Document, storages: Mapping[str, object], settings: Settings) -> Iterator[Problem]:
    """What is wrong with the storages of the file, beyond the shape of their keys."""
    places = {str(settings.backup_local_path): LOCAL_STORAGE}
    for name, value in storages.items():
        keys = value if isinstance(value, dict) else {}
        address = _address(keys.get("url"))
        if name == LOCAL_STORAGE:
            what = "the storage 'local' is there by itself."
            yield document.problem(("storages", name), what, "Remove it, and set BACKUP_LOCAL_PATH instead.")
        elif address is not None:
            yield from _unfit(document, name, keys, address)
            place = f"{address} {keys.get('conn_id') or ''}".strip()
            other = places.setdefault(place, name)
            if other != name:
                what = f"'{other}' lies there already: two copies in one place are one."
                yield document.problem(("storages", name, "url"), what, "Remove one of them, or give it another place.")


def _unfit(document: Document, name: str, keys: Mapping[str, object], address: StorageAddress) -> Iterator[Problem]:
    """Keys that mean nothing of a storage of this kind."""
    location = ("storages", name)
    if address.kind is StorageKind.DISK:
        for key in _OF_CLOUDS:
            if keys.get(key) is not None:
                yield document.problem(
                    (*location, key), "this is of object storages, and the url is a folder's.", "Remove it."
                )
        return
    if keys.get("object_lock") is not None and address.kind is not StorageKind.S3:
        what = "objects are locked in S3 buckets alone."
        yield document.problem(
            (*location, "object_lock"), what, "Remove it; set a retention policy on the bucket itself."
        )
    archive = keys.get("archive")
    chosen, known = archive.get("storage_class") if isinstance(archive, dict) else None, _CLASSES[address.kind]
    if isinstance(chosen, str) and chosen not in known:
        fix = did_you_mean(nearest(chosen, known)) or f"There are: {', '.join(known)}."
        what = f"{address} has no class '{chosen}'."
        yield document.problem((*location, "archive", "storage_class"), what, fix)


def _address(url: object) -> StorageAddress | None:
    try:
        return StorageAddress.parse(url) if isinstance(url, str) else None
    except WrongValue:  # told by the schema
        return None


def _is_cloud(name: str, settings: Settings) -> bool:
    """Whether it is the storage of BACKUP_CLOUD_DISK, which counts as off-site unless the file says otherwise."""
    return name == settings.backup_cloud_disk and (settings.backup_cloud_enabled or bool(settings.backup_cloud_url))


def _about(name: str, settings: Settings, what: str, fix: str) -> Problem:
    return Problem(f"{name} ({settings.source_of(name)})", what, fix)
