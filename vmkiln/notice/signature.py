"""The signature of what a webhook is sent, so that its receiver knows who wrote it and when; pure.

What is signed is `ID.TIMESTAMP.BODY`. A receiver refuses a time stamp that is long ago, so a message that somebody
kept cannot be sent again. Source: Standard Webhooks 1.0.0, "Signature scheme".
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence

from vmkiln.errors import InputError

PREFIX = "whsec_"
LEAST_SECRET_BYTES = 24
MOST_SECRETS = 2  # the new one and the one before, while receivers change
HINT = "such as what `openssl rand -base64 32` writes; a second line may have the secret before"


def secrets_of(text: str) -> tuple[bytes, ...]:
    """The secrets in a file's text, one a line: base64 behind `whsec_`, else the line itself.

    Raises: `InputError`, without what it says.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not 1 <= len(lines) <= MOST_SECRETS:
        raise InputError(f"notice_webhook_secret_file has {len(lines)} lines; 1 or {MOST_SECRETS} are taken", hint=HINT)
    secrets = tuple(_secret(line) for line in lines)
    if min(map(len, secrets)) < LEAST_SECRET_BYTES:
        raise InputError(f"notice_webhook_secret_file: a secret has fewer than {LEAST_SECRET_BYTES} bytes", hint=HINT)
    return secrets


def _secret(line: str) -> bytes:
    if not line.startswith(PREFIX):
        return line.encode()
    try:
        return base64.b64decode(line.removeprefix(PREFIX), validate=True)
    except binascii.Error as error:
        raise InputError(f"notice_webhook_secret_file: no base64 behind {PREFIX}", hint=HINT) from error


def signed_headers(secrets: Sequence[bytes], event_id: str, moment: int, body: bytes) -> Mapping[str, str]:
    """The headers of a message; `moment` in seconds since 1970. Each secret signs, so that one can take over."""
    signed = b".".join((event_id.encode(), str(moment).encode(), body))
    found = [base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode() for secret in secrets]
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(moment),
        "webhook-signature": " ".join(f"v1,{one}" for one in found),
    }
