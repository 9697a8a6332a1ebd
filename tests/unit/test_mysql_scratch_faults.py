"""Which errors are a scratch server's own, and which are the backup's."""

from __future__ import annotations

import pymysql
import pytest

from db_backup.engines.mysql.scratch_faults import scratch_faults
from db_backup.errors import ArtefactCorrupt, LoadFailed, ScratchUnavailable, ServerUnreachable, SourceError
from db_backup.model import ConnectionInfo, EngineName

pytestmark = pytest.mark.unit

REAL = ConnectionInfo(conn_id="shop", engine=EngineName.MYSQL)
SCRATCH = ConnectionInfo(conn_id="scratch", engine=EngineName.MYSQL, scratch=True)
FAULTS = [
    LoadFailed("ERROR 1114 (HY000) at line 5: The table 't' is full"),
    LoadFailed("ERROR 1021 (HY000) at line 5: Disk full"),
    LoadFailed('ERROR 1030 (HY000) at line 5: Got error 28 "No space left on device" from storage engine InnoDB'),
    LoadFailed('ERROR 1030 (HY000) at line 5: Got error 168 "Unknown (generic) error from engine" from storage engine'),
    LoadFailed("ERROR 3 (HY000) at line 5: Error writing file '…'"),
    LoadFailed("ERROR 2013 (HY000) at line 5: Lost connection to server during query"),
    LoadFailed("status 3: mariadb-dump: Error 2013: Lost connection to server during query"),
    LoadFailed("status 2: mariadb-dump: Got error: 2002: Can't connect to local server through socket"),
    pymysql.err.OperationalError(2006, "MySQL server has gone away"),
    ServerUnreachable("The server cannot be reached."),
    SourceError("Cannot list the objects of 'shop': Can't create/write to file (Errcode: 28) (error 1)."),
]
OTHERS = [
    LoadFailed("ERROR 1062 (23000) at line 28: Duplicate entry '…' for key 'PRIMARY'"),
    LoadFailed('ERROR 1030 (HY000) at line 5: Got error 1 "Operation not permitted" from storage engine'),
    LoadFailed("ERROR 1064 (42000) at line 5: You have an error in your SQL syntax near '(3,'abc')' at line 1"),
    LoadFailed("ERROR 1146 (42S02) at line 5: Table 'a.error 3' doesn't exist"),
    ArtefactCorrupt("No space left in it."),
]


@pytest.mark.parametrize("error", FAULTS)
def test_a_scratch_server_that_is_full_or_gone_proves_nothing(error: Exception) -> None:
    with pytest.raises(ScratchUnavailable) as caught, scratch_faults(SCRATCH):
        raise error
    assert caught.value.hint
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("error", FAULTS)
def test_errors_of_a_real_server_stay_what_they_are(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, scratch_faults(REAL):
        raise error
    assert caught.value is error


@pytest.mark.parametrize("error", OTHERS)
def test_what_is_the_backups_own_fault_stays_so(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, scratch_faults(SCRATCH):
        raise error
    assert caught.value is error
