"""Encryption of backups: a data key for each, wrapped for one or more key-encryption keys (SPEC §8).

Tink does the cryptography; what is ours is which key opens what, and that nothing half-written ever decrypts as whole.
"""

from db_backup.encryption.data_key import CIPHER, DataKey
from db_backup.encryption.keyring import Keyring
from db_backup.encryption.streams import Encryptor

__all__ = ["CIPHER", "DataKey", "Encryptor", "Keyring"]
