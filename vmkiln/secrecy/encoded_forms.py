"""How a secret may stand in a text: as it is, and as programs write it; pure.

Each form is what one common encoder makes of the value. Capital letters do not count where forms are looked for
(`secret_search.py`), so that all-capitals, all-small and both spellings of hexadecimal digits are among them.
Source: RFC 4648 (base64, base64url, base32, base16), RFC 2045 (lines of 76 letters, quoted-printable), RFC 3986 and the
URL standard's form encoding, RFC 8259 (JSON), the HTML standard (character references), quoting of POSIX shells
and of PowerShell (about_Quoting_Rules).
"""

import base64
import html
import json
import quopri
from collections.abc import Iterator
from urllib.parse import quote, quote_plus

LEAST_LETTERS = 4  # of what is masked inside a longer text
MOST_FULL_LETTERS = 4096  # of all secrets together that are looked for in every form
WINDOW = 512  # letters of a form that are looked for at once: longer ones are found piece by piece
WRAPS = (60, 64, 76)  # letters in a line of `xxd -p`, PEM, `base64`
_UNRESERVED = "-_.~"


def forms_of(secret: str, *, every: bool = True) -> frozenset[str]:
    """Everything to look for: the value, its lines, and each of them encoded; without `every`, in the usual encodings.

    None of them has fewer than `LEAST_LETTERS` letters, and none more than `WINDOW`.
    """
    found: set[str] = set()
    for piece in {secret, secret.strip(), *secret.splitlines(), *map(str.strip, secret.splitlines())}:
        if len(piece.strip()) < LEAST_LETTERS:
            continue
        texts = set(_usual(piece))
        if every:
            texts |= set(_others(piece))
            for text in (piece.lower(), piece.upper()):
                texts |= set(_usual(text))
        found |= {line for text in texts for part in {text, *text.splitlines()} for line in _windows(part)}
        found |= {line for text in texts for line in _windows(text)}
    return frozenset(form for form in found if len(form.strip()) >= LEAST_LETTERS)


def _windows(text: str) -> Iterator[str]:
    """A text, cut where it is longer than is looked for at once; a rest that is too short goes with what precedes."""
    if len(text) <= WINDOW:
        yield text
        return
    for start in range(0, len(text), WINDOW):
        yield text[start : start + WINDOW] if len(text) - start >= LEAST_LETTERS else text[-WINDOW:]


def _usual(text: str) -> Iterator[str]:
    """As it is, base64 of it wherever it begins, hexadecimal, in a URL, in JSON."""
    content = text.encode("utf-8", "surrogatepass")
    yield text
    yield from _base64(content)
    yield from _hexadecimal(content)
    for safe in ("", "/"):
        yield _quoted(text, safe)
    yield from _json(text)


def _others(text: str) -> Iterator[str]:
    content = text.encode("utf-8", "surrogatepass")
    for safe in ("-_.!~*'()", "/:@!$&'()*+,;=?", "*-._"):
        yield _quoted(text, safe)
    yield quote_plus(content)
    yield quote(quote(content, safe=""), safe="")
    yield "".join(f"%{byte:02x}" for byte in content)
    yield from _html(text)
    yield from _quoting(text)
    for between in (" ", ":", "-", ", ", "\\x", ", 0x", " 0x", ",0x"):
        yield between.join(f"{byte:02x}" for byte in content)
    for inner in set(_json(text)) - {text}:
        yield from _json(inner)  # JSON in a string of JSON
    for wide in (text.encode("utf-16-le", "surrogatepass"), text.encode("utf-16-be", "surrogatepass")):
        yield wide.decode("utf-8", "surrogateescape").strip("\0")
        yield from _base64(wide)
        yield from _hexadecimal(wide)
    encoded = base64.b64encode(content).decode()
    yield quote(encoded, safe="")
    yield encoded.replace("/", "\\/")
    for twice in {encoded, f"{encoded}\n"}:  # a secret of Kubernetes in a manifest that is encoded as a whole
        yield from _base64(twice.encode())
    yield base64.b32encode(content).decode().rstrip("=")
    yield "".join(f"\\{byte:03o}" for byte in content)
    yield quopri.encodestring(content).decode().replace("=\n", "")


def amid_others(content: bytes) -> Iterator[tuple[str, str]]:
    """Base64 of bytes, as they stand inside of any others, at three alignments.

    Gives what does not depend on the neighbours, and the same where nothing follows.
    """
    for offset, first in enumerate((0, 2, 3)):
        whole = base64.b64encode(bytes(offset) + content).decode()
        yield whole[first : (offset + len(content)) * 8 // 6], whole[first:]


def _base64(content: bytes) -> Iterator[str]:
    for inner, ending in amid_others(content):
        for text in {inner, ending, ending.rstrip("=")}:
            yield text
            yield text.translate(TO_URL)
    for wrap in WRAPS:
        whole = base64.b64encode(content).decode()
        if len(whole) > wrap:
            lines = (whole[start : start + wrap] for start in range(0, len(whole), wrap))
            yield from (line for line in lines if base64.b64decode(line).strip(_OF_ANY))


_OF_ANY = b"=\n\0"  # a last line with nothing but these stands in texts without the secret
TO_URL = str.maketrans("+/", "-_")


def _hexadecimal(content: bytes) -> Iterator[str]:
    whole = content.hex()
    yield whole
    for wrap in WRAPS:
        if len(whole) > wrap:
            yield from (whole[start : start + wrap] for start in range(0, len(whole), wrap))


def _quoted(text: str, safe: str) -> str:
    return quote(text.encode("utf-8", "surrogatepass"), safe=safe)


def _json(text: str) -> Iterator[str]:
    """As encoders of JSON write it: with letters as they are or escaped, with `<`, `>`, `&` and quotes escaped."""
    plain, escaped = json.dumps(text, ensure_ascii=False)[1:-1], json.dumps(text)[1:-1]
    for written in (plain, escaped):
        yield written
        yield written.replace("/", "\\/")
        for letters in ("<>&", "<>&'", "<>&'+`", "<>&=", "<>&'="):
            yield _with_escapes(written, letters)
    yield _with_escapes(json.dumps(text)[1:-1].replace('\\"', '"'), "<>&'+`\"")
    yield "".join(f"\\u{unit:04x}" for unit in _units(text))
    yield "".join(f"\\x{byte:02x}" for byte in text.encode("utf-8", "surrogatepass"))
    yield repr(text)[1:-1]


def _units(text: str) -> Iterator[int]:
    wide = text.encode("utf-16-be", "surrogatepass")
    return (int.from_bytes(wide[at : at + 2], "big") for at in range(0, len(wide), 2))


def _with_escapes(text: str, letters: str) -> str:
    for letter in letters:
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text


def _html(text: str) -> Iterator[str]:
    plain, quoted = html.escape(text, quote=False), html.escape(text)
    yield plain
    yield quoted
    for double in ("&quot;", "&#34;", "&#x22;", '"'):
        for single in ("&#x27;", "&#39;", "&#039;", "&apos;", "'"):
            yield plain.replace('"', double).replace("'", single)
    yield "".join(f"&#{ord(letter)};" for letter in text)
    yield "".join(f"&#x{ord(letter):x};" for letter in text)
    yield quoted.encode("ascii", "xmlcharrefreplace").decode()


def _quoting(text: str) -> Iterator[str]:
    """In quotes of shells, of PowerShell, of SQL and CSV."""
    for inner in ("'\\''", "'\"'\"'", "''", "\\'"):
        yield text.replace("'", inner)
    for inner in ('\\"', '""', '`"'):
        yield text.replace('"', inner)
    yield _escaped(text, '\\"$`', "\\")
    yield _escaped(text, '\\"$`!', "\\")
    yield _escaped(text, '`"$', "`")
    yield _escaped(text, "\\'", "\\")
    yield _escaped(text, '&|<>^()%!"', "^")
    yield "".join(letter if letter.isalnum() or letter in "_@%+=:,./-" else f"\\{letter}" for letter in text)
    yield "".join(letter if letter.isalnum() or letter in "_@%+:./-" else f"\\{letter}" for letter in text)
    yield "".join(letter if letter.isalnum() or letter in "_%+=:./-" else f"\\{letter}" for letter in text)
    yield "".join(letter if letter.isalnum() or letter == "_" else f"\\{letter}" for letter in text)


def _escaped(text: str, letters: str, with_: str) -> str:
    return "".join(f"{with_}{letter}" if letter in letters else letter for letter in text)
