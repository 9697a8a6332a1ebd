"""The break-glass kit: what a restore needs when Airflow, which holds the connections, is what has died."""

from db_backup.jobs.kit.document import LEAST_PASSPHRASE, Kit
from db_backup.jobs.kit.export import KitReport, LastExport, export_kit, fingerprint_of, last_export
from db_backup.jobs.kit.importing import ImportReport, import_kit
from db_backup.jobs.kit.using import open_by_kit, read_sealed

__all__ = [
    "ImportReport",
    "Kit",
    "KitReport",
    "LEAST_PASSPHRASE",
    "LastExport",
    "export_kit",
    "fingerprint_of",
    "import_kit",
    "last_export",
    "open_by_kit",
    "read_sealed",
]
