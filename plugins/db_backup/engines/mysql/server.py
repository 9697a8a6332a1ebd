"""What a server says of itself."""

from __future__ import annotations

from dataclasses import dataclass

from db_backup.engines.mysql.connecting import Session, query
from db_backup.engines.mysql.flavour import Flavour, Version, server_flavour, version_numbers
from db_backup.manifest import ServerInfo
from db_backup.model import ConnectionInfo, EngineName


@dataclass(frozen=True)
class Server:
    """What a server says of itself."""

    info: ServerInfo
    flavour: Flavour
    version: Version
    binlog: bool


def describe_server(session: Session, connection: ConnectionInfo) -> Server:
    version, comment, binlog = query(session, "SELECT VERSION(), @@version_comment, @@log_bin")[0]
    flavour, numbers = server_flavour(str(version), str(comment)), version_numbers(str(version))
    # MariaDB's server_uid changes with the port: it has no identity that would hold.
    identity = str(query(session, "SELECT @@server_uuid")[0][0]) if _has_uuid(flavour, numbers) else ""
    encoding, collation = query(session, "SELECT @@character_set_database, @@collation_database")[0]
    info = ServerInfo(
        engine=EngineName.MYSQL,
        flavour=flavour.value,
        version=".".join(map(str, numbers)),
        identity=identity,
        address=connection.address,
        encoding=str(encoding),
        collation=str(collation),
    )
    return Server(info, flavour, numbers, bool(binlog))


def _has_uuid(flavour: Flavour, version: Version) -> bool:
    return flavour is Flavour.MYSQL and version >= (5, 6, 0)
