"""Backups of SQLite, MySQL/MariaDB and PostgreSQL, proved by restoring them, inside Apache Airflow and without."""

__version__ = "0.1.0"
