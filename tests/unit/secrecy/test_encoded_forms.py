"""No form of a secret gets through, however it is encoded and wherever the stream is cut: a property."""

import base64
import html
import itertools
import json
import quopri
import shlex
import tracemalloc
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiers import examples

from vmkiln.secrecy.encoded_forms import WINDOW, forms_of
from vmkiln.secrecy.secret_mask import LineMask, SecretMask, StreamMask

LETTERS = st.characters(codec="utf-8", exclude_categories=["Cs", "Cc", "Zl", "Zp"])
PLAIN = st.text("abcXYZ0189-_.~!@#$%^&*()+=/\\'\"`<>|?{}[]:;, ", min_size=8, max_size=40)
WORDS = st.text("abcdefXYZ0189", min_size=8, max_size=60)
ANY = st.text(LETTERS, min_size=8, max_size=24)
SECRETS = st.one_of(WORDS, PLAIN, ANY).map(lambda text: f"q{text}q")
LINES = st.lists(WORDS, min_size=2, max_size=4).map("\n".join)
Encoder = Callable[[str], str]
CASES = 1000  # of a secret in one form in one stream; in the long tier 100,000


def based(text: str, *, offset: int, alphabet: Callable[[bytes], bytes], encoding: str = "utf-8") -> str:
    """Base64 of bytes with the secret inside: the letters that the secret alone decides."""
    content = text.encode(encoding)
    whole = alphabet(b"\x55" * offset + content + b"\x55\x55").decode()
    return whole[-(-offset * 8 // 6) : (offset + len(content)) * 8 // 6]


ENCODERS: dict[str, Encoder] = {
    "as it is": str,
    "capital letters": str.upper,
    "small letters": str.lower,
    **{
        f"base64 at {offset}": lambda text, offset=offset: based(text, offset=offset, alphabet=base64.b64encode)  # type: ignore[misc]
        for offset in range(3)
    },
    **{
        f"base64url at {offset}": lambda text, offset=offset: based(  # type: ignore[misc]
            text, offset=offset, alphabet=base64.urlsafe_b64encode
        )
        for offset in range(3)
    },
    **{
        f"base64 of UTF-16 at {offset}": lambda text, offset=offset: based(  # type: ignore[misc]
            text, offset=offset, alphabet=base64.b64encode, encoding="utf-16-le"
        )
        for offset in range(3)
    },
    "base64 with its end": lambda text: base64.b64encode(text.encode()).decode(),
    "base64 of small letters": lambda text: base64.b64encode(text.lower().encode()).decode(),
    "base64 twice": lambda text: base64.b64encode(base64.b64encode(text.encode())).decode(),
    "base64 twice, in lines": lambda text: base64.b64encode(base64.b64encode(text.encode()) + b"\n").decode(),
    "base32": lambda text: base64.b32encode(text.encode()).decode(),
    "octal": lambda text: "".join(f"\\{byte:03o}" for byte in text.encode()),
    "quoted-printable": lambda text: quopri.encodestring(text.encode()).decode().replace("=\n", ""),
    "base64 in a URL": lambda text: quote(base64.b64encode(text.encode()).decode(), safe=""),
    "URL": lambda text: quote(text, safe=""),
    "URL path": quote,
    "URL with small digits": lambda text: quote(text, safe="").lower(),
    "form": quote_plus,
    "encodeURIComponent": lambda text: quote(text, safe="-_.!~*'()"),
    "URL twice": lambda text: quote(quote(text, safe=""), safe=""),
    "URL, every byte": lambda text: "".join(f"%{byte:02X}" for byte in text.encode()),
    "HTML": html.escape,
    "HTML without quotes": lambda text: html.escape(text, quote=False),
    "HTML of jinja": lambda text: html.escape(text).replace("&quot;", "&#34;").replace("&#x27;", "&#39;"),
    "HTML, every letter": lambda text: "".join(f"&#{ord(letter)};" for letter in text),
    "JSON": lambda text: json.dumps(text)[1:-1],
    "JSON with letters": lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    "JSON in JSON": lambda text: json.dumps(json.dumps(text)[1:-1])[1:-1],
    "JSON of Go": lambda text: (
        json.dumps(text, ensure_ascii=False)[1:-1]
        .replace("<", "\\u003c")
        .replace(">", "\\u003e")
        .replace("&", "\\u0026")
    ),
    "JSON, every unit": lambda text: "".join(
        f"\\u{int.from_bytes(text.encode('utf-16-be')[at : at + 2], 'big'):04x}"
        for at in range(0, len(text.encode("utf-16-be")), 2)
    ),
    "hexadecimal": lambda text: text.encode().hex(),
    "HEXADECIMAL": lambda text: text.encode().hex().upper(),
    "hexadecimal with spaces": lambda text: text.encode().hex(" "),
    "hexadecimal with colons": lambda text: text.encode().hex(":"),
    "hexadecimal of UTF-16": lambda text: text.encode("utf-16-le").hex(),
    "UTF-16 LE": lambda text: text.encode("utf-16-le").decode("utf-8", "surrogateescape").strip("\0"),
    "UTF-16 BE": lambda text: text.encode("utf-16-be").decode("utf-8", "surrogateescape").strip("\0"),
    "single quotes of a shell": lambda text: shlex.quote(text)[1:-1] if shlex.quote(text) != text else text,
    "single quotes of PowerShell": lambda text: text.replace("'", "''"),
    "double quotes of a shell": lambda text: "".join(f"\\{x}" if x in '\\"$`' else x for x in text),
    "double quotes of PowerShell": lambda text: "".join(f"`{x}" if x in '`"$' else x for x in text),
    "repr": lambda text: repr(text)[1:-1],
}


def cut(text: str, places: list[int]) -> list[str]:
    bounds = [0, *sorted(place % (len(text) + 1) for place in places), len(text)]
    return [text[start:end] for start, end in itertools.pairwise(bounds)]


@settings(max_examples=-(-examples(CASES) // len(ENCODERS)), deadline=None)
@given(
    secret=SECRETS,
    before=st.text("ab \n", max_size=20),
    places=st.lists(st.integers(0, 100_000), max_size=8),
)
def test_no_form_of_a_secret_gets_through_a_stream(secret: str, before: str, places: list[int]) -> None:
    mask = SecretMask.of([secret])
    for encoder in ENCODERS.values():
        form = encoder(secret)
        stream = StreamMask(mask)
        told = "".join(map(stream.feed, cut(f"{before}{form} {form}{'-' * 9_000}|end", places))) + stream.finish()
        assert form not in told
        assert told.endswith("---|end")


@pytest.mark.parametrize("encoder", sorted(ENCODERS))
def test_every_encoder_is_looked_for(encoder: str) -> None:
    secret = "a-Secret+with/all='of'\"them\" <&> $x äß€"
    form = ENCODERS[encoder](secret)
    assert form not in SecretMask.of([secret])(f"x {form} y")
    assert form in SecretMask.of(["another one"])(f"x {form} y"), "the probe itself shows a leak"


@settings(max_examples=-(-examples(CASES) // len(ENCODERS) // 4), deadline=None)
@given(secret=LINES)
def test_each_line_of_a_secret_is_masked_in_every_form(secret: str) -> None:
    mask = SecretMask.of([secret])
    for encoder in ENCODERS.values():
        for line in secret.splitlines():
            form = encoder(line)
            assert form not in mask(f"x {form} y")


@given(secret=st.text("abcXYZ0189+/", min_size=100, max_size=300))
def test_wrapped_base64_is_masked_line_by_line(secret: str) -> None:
    whole = base64.b64encode(secret.encode()).decode()
    mask = SecretMask.of([secret])
    for wrap in (64, 76):
        for start in range(0, len(whole), wrap):
            line = whole[start : start + wrap]
            assert len(line) < 4 or line not in mask(line)


def test_no_form_is_one_of_every_secret() -> None:
    """The end of a wrapped base64 can be that of any text, such as `Cg==`: a line's end, which a log is full of."""
    for length in range(8, 121):
        secrets = ((letters * length)[:length] for letters in ("kX9", "wB4", "mT7"))
        forms = (frozenset(map(str.lower, forms_of(secret))) for secret in secrets)
        assert frozenset.intersection(*forms) == set(), f"{length} letters"


def test_a_long_secret_is_found_piece_by_piece() -> None:
    secret = "".join(chr(97 + index * index % 26) for index in range(20_000))
    assert max(map(len, forms_of(secret, every=False))) <= WINDOW
    assert SecretMask.of([secret])(f"<{secret}>") == "<***>"


def test_a_stream_holds_little_however_long_it_is() -> None:
    stream = StreamMask(SecretMask.of(["a-secret-of-many-letters", "aaaa"]))
    stream.feed("x" * 65_536)
    tracemalloc.start()
    told = 0
    for index in range(40):
        told += len(stream.feed(("aaaa" if index % 8 == 7 else "bcde") * 16_384))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 24 * 2**20
    assert told <= 36 * 65_536 + 40 * 3


def test_twice_as_many_secrets_do_not_cost_twice_the_search() -> None:
    """What is counted is what is built: one automaton for all of them, and one pass over a text."""
    one, many = (SecretMask.of([f"secret-number-{index}" for index in range(count)]) for count in (1, 50))
    assert one.spans("secret-number-0") == many.spans("secret-number-0") == [(0, 15)]


def test_a_private_key_is_masked_over_its_lines_and_what_follows_is_not() -> None:
    mask = LineMask(SecretMask())
    lines = [
        "    null: -----BEGIN PRIVATE KEY-----", "    null: MIIEvQIBADANBgkqhkiG9w0BAQEFAASC",
        "    null: BKcwggSjAgEAAoIBAQ==", "    null: -----END PRIVATE KEY-----", "    null: done",
    ]  # fmt: skip
    assert [mask(line) for line in lines] == [lines[0], "    null: ***", "    null: ***", lines[3], lines[4]]


def test_a_key_that_never_ends_hides_no_other_lines() -> None:
    mask = LineMask(SecretMask())
    assert [mask(line) for line in ("-----BEGIN PRIVATE KEY-----", "MIIE", "==> null: Provisioning with shell")] == [
        "-----BEGIN PRIVATE KEY-----", "***", "==> null: Provisioning with shell",
    ]  # fmt: skip
