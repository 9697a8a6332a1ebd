#!/usr/bin/env python3
"""Decrypt the parts of a backup without the product that made it: Python 3.9 or later and `pip install tink`.

    python3 decrypt_backup.py --key KEY.json --state ID.state.json PART.enc > PART

KEY.json is a key file of `db-backup keys generate` (of a pair: the private key). ID.state.json lies beside the backup,
in the folder `metadata`; it holds the backup's data key, wrapped for one or more keys. PART.enc is a file of the folder
`database`, under the name that it was stored by: the name is part of what is authenticated. What comes out is what was
stored before encryption, such as a .gz file; of a stream of several parts, join them in the order of their names.

Without --key it says for which keys the data key is wrapped, and how one of a key service is opened.
"""

from __future__ import annotations

import argparse
import base64
import json
import shlex
import sys
from pathlib import Path
from typing import Any

BLOCK = 1 << 20


def main() -> None:
    arguments = _arguments()
    state = _json(arguments.state, "the backup's state")
    backup, wraps = state["id"], state.get("wrapped_keys", [])
    if not wraps:
        raise SystemExit(
            f"{arguments.state}: {backup} has no wrapped data key: it is not encrypted, or this is damaged."
        )
    if arguments.data_key:
        data_key = _file(arguments.data_key, "the data key")
    elif arguments.key:
        data_key = _unwrapped(arguments.key, backup, wraps)
    else:
        raise SystemExit(_how_to_open(backup, wraps))
    if not arguments.parts:
        raise SystemExit(f"The key opens {backup}. Name a part: database/{backup}….enc")
    for path in arguments.parts:
        _decrypt(path, backup, data_key)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--state", required=True, metavar="ID.state.json", help="from the folder metadata")
    parser.add_argument("--key", metavar="KEY.json", help="a key file")
    parser.add_argument("--data-key", metavar="FILE", help="the data key itself, as a key service has opened it")
    parser.add_argument("parts", nargs="*", metavar="PART.enc", help="decrypted to stdout, one after the other")
    return parser.parse_args()


def _unwrapped(key_path: str, backup: str, wraps: list[dict[str, str]]) -> bytes:
    """The data key, by the wrap that was made for this key."""
    from tink import TinkError, aead, hybrid, json_proto_keyset_format, secret_key_access

    key = _json(key_path, "the key")
    if key.get("kind") == "public":
        raise SystemExit(
            f"{key_path} is the public half, which opens nothing. Bring the private key {key['fingerprint']}."
        )
    mine = [wrap for wrap in wraps if wrap["key_id"] == key.get("fingerprint")]
    if not mine:
        raise SystemExit(f"{key_path} is the key {key.get('fingerprint')}. {_how_to_open(backup, wraps)}")
    aead.register()
    hybrid.register()
    try:
        handle = json_proto_keyset_format.parse(json.dumps(key["keyset"]), secret_key_access.TOKEN)
        private = key["kind"] == "private"
        primitive = handle.primitive(hybrid.HybridDecrypt if private else aead.Aead)
    except (TinkError, ValueError, KeyError):
        raise SystemExit(f"{key_path} is damaged, or no key file.") from None
    for wrap in mine:  # more than one where copies' states have differed: then not all of them open
        try:
            opened: bytes = primitive.decrypt(base64.b64decode(wrap["wrapped"]), _bound_to(backup))
        except (TinkError, ValueError, KeyError):
            continue
        return opened
    raise SystemExit(f"The data key that is wrapped for {key_path} is damaged: take the state of another copy.")


def _how_to_open(backup: str, wraps: list[dict[str, str]]) -> str:
    lines = [f"{backup} opens with any of these:"]
    bound = shlex.quote(_bound_to(backup).decode())
    for wrap in wraps:
        wrapped, address = shlex.quote(wrap["wrapped"]), wrap["key_id"].partition("://")[2]
        if wrap["kind"] == "aws_kms":
            lines += [
                f"  the AWS KMS key {wrap['key_id']}: write the wrapped key into a file and let the service open it,",
                f"    echo {wrapped} | base64 -d > wrapped",
                f"    aws kms decrypt --key-id {shlex.quote(address)} \\",
                f"      --encryption-context associatedData={_bound_to(backup).hex()} \\",
                "      --ciphertext-blob fileb://wrapped --query Plaintext --output text | base64 -d > data.key",
                "    then use --data-key data.key",
            ]
        elif wrap["kind"] == "gcp_kms":
            lines += [
                f"  the Google Cloud KMS key {wrap['key_id']}: write the wrapped key into a file,",
                f"    echo {wrapped} | base64 -d > wrapped; printf '%s' {bound} > bound",
                "    and let the service open it,",
                f"    gcloud kms decrypt --key {shlex.quote(address)} \\",
                "      --ciphertext-file wrapped --additional-authenticated-data-file bound --plaintext-file data.key",
                "    then use --data-key data.key",
            ]
        else:
            private = "the private key" if wrap["kind"] == "public" else "the key"
            lines.append(f"  {private} '{wrap['recipient']}', fingerprint {wrap['key_id']}: a file, used with --key")
    return "\n".join(lines)


def _decrypt(path: str, backup: str, data_key: bytes) -> None:
    from tink import TinkError, proto_keyset_format, secret_key_access, streaming_aead

    streaming_aead.register()
    name = Path(path).name
    if not name.startswith(f"{backup}."):
        raise SystemExit(
            f"{name} is no part of {backup}: take the state of its own backup, or its name as it was stored."
        )
    try:
        primitive = proto_keyset_format.parse(data_key, secret_key_access.TOKEN).primitive(streaming_aead.StreamingAead)
    except TinkError:
        raise SystemExit("What was opened is no data key.") from None
    try:
        with Path(path).open("rb") as stored, primitive.new_decrypting_stream(stored, _part(backup, name)) as plain:
            while block := plain.read(BLOCK):
                sys.stdout.buffer.write(block)
        sys.stdout.buffer.flush()
    except FileNotFoundError:
        raise SystemExit(f"{path}: there is no such file. It lies in the storage's folder database.") from None
    except TinkError:
        raise SystemExit(
            f"{path} is damaged, cut off, or another part under this name: what was written so far is not the whole."
        ) from None


def _bound_to(backup: str) -> bytes:
    return f"dbbk|v1|dek|{backup}".encode()


def _part(backup: str, name: str) -> bytes:
    return f"dbbk|v1|part|{backup}|{name}".encode()


def _file(path: str, what: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise SystemExit(f"{path}, {what}, cannot be read: {error.strerror}.") from None


def _json(path: str, what: str) -> dict[str, Any]:
    try:
        return dict(json.loads(_file(path, what)))
    except (ValueError, TypeError):
        raise SystemExit(f"{path} is not {what}: no JSON.") from None


if __name__ == "__main__":
    try:
        import tink  # noqa: F401 - said once, and first
    except ImportError:
        raise SystemExit("Tink is missing: pip install tink") from None
    main()
