"""A secret anywhere in a script or file is found, also where two pieces of it meet."""

import base64
import io

import pytest

from vmkiln.run.checkpoints import file_search
from vmkiln.run.checkpoints.file_search import HIDDEN, TOO_LARGE, why_never_kept
from vmkiln.secrecy.secret_mask import NO_SECRETS, SecretMask

PIECE = 4096
SECRET = "hünter22-of-the-run"
KEY = b"-----BEGIN PRIVATE KEY-----\nMIIEvQ\n-----END PRIVATE KEY-----\n"


def found(content: bytes, mask: SecretMask | None = None) -> str:
    return why_never_kept(io.BytesIO(content), len(content), mask or SecretMask.of([SECRET]))


@pytest.mark.parametrize("secret", [SECRET.encode(), base64.b64encode(SECRET.encode()), KEY])
@pytest.mark.parametrize("before", [0, PIECE - 3, 7 * PIECE - 12, 20 * PIECE])
def test_a_secret_is_found_wherever_it_stands_in_a_file(
    secret: bytes, before: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_search, "PIECE_BYTES", PIECE)
    filling = (b"echo \xff\xfe\xc3 and more of it\n" * (before // 20 + 1))[:before]
    rest = b"\n# the end\n" * 1000
    assert found(filling + secret + rest) == HIDDEN
    assert found(filling + rest) == ""


def test_a_short_secret_is_found_where_two_pieces_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_search, "PIECE_BYTES", 8)
    assert found(b"1234567abc", SecretMask.of(["abc"])) == HIDDEN
    assert found(b"1234567ab-", SecretMask.of(["abc"])) == ""


def test_what_is_too_large_to_be_searched_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    assert why_never_kept(io.BytesIO(b""), file_search.MOST_SEARCHED_BYTES, NO_SECRETS) == ""
    assert why_never_kept(io.BytesIO(b""), file_search.MOST_SEARCHED_BYTES + 1, NO_SECRETS) == TOO_LARGE
