"""Whether a customizer's script or file has a secret anywhere in it: read piece by piece, however large it is.

Bytes are compared, so a text's encoding has no part in it: each byte is taken for a letter, and a secret that is more
than ASCII is looked for as its bytes in UTF-8, too.
"""

from typing import BinaryIO

from vmkiln.secrecy.secret_mask import SecretMask

MOST_SEARCHED_BYTES = 64 * 1024 * 1024
PIECE_BYTES = 256 * 1024
HIDDEN = "something of it is never shown"
TOO_LARGE = f"it is larger than {MOST_SEARCHED_BYTES // 1024**2} MiB, so it is not searched for secrets"


def why_never_kept(file: BinaryIO, size_bytes: int, mask: SecretMask) -> str:
    """Why nothing may be kept behind a step that has this file; '' when nothing of it is secret. Raises: `OSError`."""
    if size_bytes > MOST_SEARCHED_BYTES:
        return TOO_LARGE
    by_bytes = mask | SecretMask.of(_as_bytes(secret) for secret in mask.secrets)
    before = ""
    while piece := file.read(PIECE_BYTES):
        text = before + piece.decode("latin-1")
        if has_secret(text, by_bytes):
            return HIDDEN
        before = text[-by_bytes.longest :]  # what is cut in two by the end of a piece is whole in the next
    return ""


def has_secret(text: str, mask: SecretMask) -> bool:
    """Whether a text would be shown masked, or has a secret of too few letters to be masked in a text; pure."""
    return bool(mask.spans(text)) or (mask.too_short and any(secret in text for secret in mask.secrets))


def _as_bytes(secret: str) -> str:
    return secret.encode(errors="surrogateescape").decode("latin-1")
