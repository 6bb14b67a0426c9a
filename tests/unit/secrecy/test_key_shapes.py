"""Keys are known by their shape, wherever they stand and however the text is cut."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmkiln.secrecy.secret_mask import SecretMask, StreamMask

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl"
STORAGE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
SHAPES = {
    "sig": "https://x.example/a?sv=1&sig={secret}&se=2",
    "sig, escaped": "redirect=https%3A%2F%2Fx.example%3Fsv%3D1%26sig%3D{secret}%26se",
    "sig, escaped twice": "sig%253D{secret}",
    "sig in JSON": '{{"sv":"1","sig":"{secret}"}}',
    "sig in JSON with spaces": '{{"sig": "{secret}"}}',
    "sig in JSON in JSON": '"{{\\"sig\\":\\"{secret}\\"}}"',
    "sig in HTML": "?sv=1&amp;sig={secret}&amp;se=2",
    "account key": "DefaultEndpointsProtocol=https;AccountName=a;AccountKey={secret};EndpointSuffix=x",
    "account key in JSON": '{{"AccountKey":"{secret}"}}',
    "shared access key": "Endpoint=sb://x;SharedAccessKeyName=n;SharedAccessKey={secret}",
    "S3": "https://b.example/k?X-Amz-Credential=c&X-Amz-Signature={secret}&X-Amz-Date=d",
    "GCS": "?X-Goog-Signature={secret}",
    "session of AWS": "X-Amz-Security-Token={secret}",
    "bearer": "Authorization: Bearer {secret}",
    "bearer in a header of curl": "-H 'authorization: bearer {secret}'",
    "shared key": "Authorization: SharedKey acct:{secret}",
}
TOKENS = {
    "JWT": JWT, "storage key": STORAGE_KEY, "GitHub": "ghp_" + "a1" * 18, "GitLab": "glpat-" + "a1" * 10,
    "Slack": "xoxb-123456789-abcdef", "AWS": "AKIA" + "A1B2" * 4, "npm": "npm_" + "a1" * 18,
    "PEM": "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQ",
}  # fmt: skip


@pytest.mark.parametrize("shape", sorted(SHAPES))
@given(secret=st.text("abcXYZ0189_-", min_size=12, max_size=60).map(lambda text: f"q{text}q"))
def test_what_has_the_shape_of_a_key_is_masked(shape: str, secret: str) -> None:
    assert secret not in SecretMask()(SHAPES[shape].format(secret=secret))


@pytest.mark.parametrize("shape", sorted(SHAPES))
def test_what_is_around_a_key_stays_readable(shape: str) -> None:
    before, after = SHAPES[shape].format(secret="\0").split("\0")
    masked = SecretMask()(SHAPES[shape].format(secret="Zm9vYmFyYmF6cXV4"))
    assert masked.startswith(f"{before}***")
    assert masked.endswith(after)


@pytest.mark.parametrize("kind", sorted(TOKENS))
def test_keys_of_known_kinds_are_masked_without_a_name(kind: str) -> None:
    text = f"it said {TOKENS[kind]} there"
    if kind == "PEM":
        text = f"-----BEGIN RSA PRIVATE KEY-----\n{TOKENS[kind]}\n-----END RSA PRIVATE KEY-----"
    assert TOKENS[kind] not in SecretMask()(text)


@given(places=st.lists(st.integers(0, 12_000), max_size=5), shape=st.sampled_from(sorted(SHAPES)))
def test_no_cut_lets_a_key_through(places: list[int], shape: str) -> None:
    secret = "Zm9vYmFyYmF6cXV4MDEyMzQ1"
    text = "y" * 5000 + " " + SHAPES[shape].format(secret=secret) + " " + "z" * 5000
    bounds = [0, *sorted(place % len(text) for place in places), len(text)]
    stream = StreamMask(SecretMask())
    told = "".join(stream.feed(text[a:b]) for a, b in itertools.pairwise(bounds)) + stream.finish()
    assert secret not in told
    assert told.count("y") >= 5000


@pytest.mark.parametrize(
    "text",
    [
        "GET https://host.example/a?api-version=2024-02-01&design=x 200",
        "the signal is assigned, and gpg: Good signature; sig: ok",
        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "a bearer of news, the keyboard and the account key are known",
        "path/to/eyJ-not-a-token and ghp_short",
        "*** done ***",
    ],
)
def test_what_has_no_such_shape_stays_as_it_is(text: str) -> None:
    assert SecretMask()(text) == text
