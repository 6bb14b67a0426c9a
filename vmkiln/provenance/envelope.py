"""A signed envelope: a statement, and who signed it, in the form of DSSE 1.0 (Dead Simple Signing Envelope).

What is signed is the payload's type and its bytes, each with its length, so one cannot be read as the other. An
envelope is read strictly: whatever could be written in two ways is refused in all but one, so no byte of it can change
unseen.
Source: github.com/secure-systems-lab/dsse, protocol.md and envelope.md, version 1.0.
"""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from typing import Any

from vmkiln.errors import VmkilnError
from vmkiln.provenance import image_key
from vmkiln.sealing.key_ring import Key

PAYLOAD_TYPE = "application/vnd.in-toto+json"
MOST_LETTERS = 64 * 1024**2  # of an envelope


class ProvenanceRefused(VmkilnError):
    """An image is not what a statement says, or the statement is not signed by whom it should be."""

    code = "ProvenanceRefused"


def signed(statement: Mapping[str, Any], key: Key) -> str:
    """The envelope of a statement, signed with a key of images; one line of JSON."""
    payload = json.dumps(statement, sort_keys=True, separators=(",", ":")).encode()
    signature = image_key.sign(key, pre_authentication(PAYLOAD_TYPE, payload))
    return _written(payload, [(key.key_id, signature)])


def pre_authentication(payload_type: str, payload: bytes) -> bytes:
    """What a signature is of (PAE); pure."""
    name = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(name), name, len(payload), payload)


def opened(text: str, keys: Mapping[str, str]) -> tuple[dict[str, Any], str]:
    """The statement in an envelope, and the id of the key that signed it; `keys` are public ones (PEM) by their ids.

    Raises: `ProvenanceRefused` when it is no envelope of ours, or none of the keys signed just this.
    """
    payload, signatures = _read(text)
    for key_id, signature in signatures:
        public = keys.get(key_id)
        if public and image_key.is_signed(public, signature, pre_authentication(PAYLOAD_TYPE, payload)):
            return _statement(payload), key_id
    named = ", ".join(key_id[:32] for key_id, _ in signatures)
    if not any(key_id in keys for key_id, _ in signatures):
        raise ProvenanceRefused(f"the statement is signed with the key {named}, which is none of those to trust")
    raise ProvenanceRefused(f"the signature of the key {named} is not one of this statement")


def _read(text: str) -> tuple[bytes, list[tuple[str, bytes]]]:
    if len(text) > MOST_LETTERS:
        raise ProvenanceRefused(f"a statement has at most {MOST_LETTERS >> 20} MiB")
    told = _object(text)
    try:
        if told.keys() != {"payload", "payloadType", "signatures"} or told["payloadType"] != PAYLOAD_TYPE:
            raise ProvenanceRefused(f"the file is no signed statement: no envelope of {PAYLOAD_TYPE}")
        signatures = []
        for one in told["signatures"]:
            if one.keys() != {"keyid", "sig"} or not isinstance(one["keyid"], str):
                raise ProvenanceRefused("the file is no signed statement: a signature has a `keyid` and a `sig`")
            signatures.append((one["keyid"], _decoded(one["sig"])))
        return _decoded(told["payload"]), signatures
    except (TypeError, AttributeError) as error:
        raise ProvenanceRefused("the file is no signed statement: its members are of other types") from error


def _object(text: str) -> dict[str, Any]:
    """A JSON object that names nothing twice. Raises: `ProvenanceRefused`."""

    def once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ProvenanceRefused("the file is no signed statement: it names something twice")
        return found

    try:
        found = json.loads(text, object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        raise ProvenanceRefused("the file is no signed statement: it is not JSON") from error
    if not isinstance(found, dict):
        raise ProvenanceRefused("the file is no signed statement: it is no JSON object")
    return found


def _statement(payload: bytes) -> dict[str, Any]:
    try:
        return _object(payload.decode())
    except UnicodeDecodeError as error:
        raise ProvenanceRefused("the statement is not UTF-8") from error


def _decoded(text: str) -> bytes:
    """The bytes of a text in base64; the one way to write them is demanded."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ProvenanceRefused("the file is no signed statement: base64 is damaged") from error
    if base64.b64encode(raw).decode() != text:
        raise ProvenanceRefused("the file is no signed statement: base64 is written in another way")
    return raw


def _written(payload: bytes, signatures: Sequence[tuple[str, bytes]]) -> str:
    told = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [{"keyid": key_id, "sig": base64.b64encode(raw).decode()} for key_id, raw in signatures],
    }
    return json.dumps(told, separators=(",", ":"))
