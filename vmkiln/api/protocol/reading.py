"""Reads what a request carries: path, query, body. Whatever is wrong is refused before anything is done.

Source: RFC 3986 (percent-encoding), RFC 8259 (JSON).
"""

import codecs
import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote_to_bytes

from vmkiln.api.protocol.route import Body
from vmkiln.arm_template.lenient_json import read_json
from vmkiln.errors import ArmError, TemplateInvalid
from vmkiln.harmless_text import UNSTORABLE

MOST_BODY_BYTES = 4 * 1024**2
MOST_DEPTH = 100
MOST_VALUES = 200_000
MOST_SEGMENT_LETTERS = 260
MOST_PARAMETERS = 64
FIRST_VERSION = "1.0"  # of /metadata/endpoints only, and no date
_CHARSET = re.compile(r";\s{0,9}charset\s{0,9}=\s{0,9}\"?([\w.:\-]{1,60})", re.IGNORECASE)
_CODINGS = {
    **dict.fromkeys(("utf-8", "utf8", "us-ascii", "ascii"), "utf-8"),
    **dict.fromkeys(("iso-8859-1", "latin1", "latin-1"), "latin-1"),
    "windows-1252": "cp1252",
    **{name: name for name in ("utf-16", "utf-16le", "utf-16be", "utf-32", "utf-32le", "utf-32be")},
}
_MARKS = (  # UTF-32's begins as UTF-16's
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"?', re.DOTALL)  # also one that is never closed, so that none is read twice
API_VERSION = re.compile(r"\d{4}-\d{2}-\d{2}(-[a-z0-9.-]{1,30})?", re.IGNORECASE)


def path_segments(raw_path: bytes) -> tuple[str, ...]:
    """The decoded segments of a path; doubled slashes and one at the end do not count.

    Raises: `ArmError` for what cannot be a name.
    """
    found: list[str] = []
    for raw in raw_path.split(b"/"):
        if not raw:
            continue
        try:
            text = unquote_to_bytes(raw).decode()
        except UnicodeDecodeError:
            raise ArmError(400, "InvalidResourcePath", "the path is not UTF-8") from None
        if text in {".", ".."} or re.search(r"[\x00-\x1f\x7f/\\]", text):
            raise ArmError(400, "InvalidResourcePath", "the path holds a segment that cannot be a name")
        if len(text) > MOST_SEGMENT_LETTERS:
            message = f"the path holds a segment of {len(text)} letters; at most {MOST_SEGMENT_LETTERS} are allowed"
            raise ArmError(400, "InvalidResourcePath", message)
        found.append(text)
    return tuple(found)


def query_values(raw_query: bytes) -> dict[str, str]:
    """The query's parameters, names in lower case; the first of a name counts. Raises: `ArmError`.

    A client that gives a whole `nextLink` as `skiptoken` gets the page that the link leads to (Ansible's
    `azure_rm_resource_info` does so, and would ask for the first page for ever).
    """
    found = _values(raw_query)
    link = found.get("$skiptoken") or found.get("skiptoken", "")
    if link.startswith(("https://", "http://")) and link.isascii():
        of_link = _values(link.partition("?")[2].encode("ascii"))
        found |= {name: value for name, value in of_link.items() if name.startswith("$")}
    return found


def _values(raw_query: bytes) -> dict[str, str]:
    try:
        pairs = parse_qsl(
            raw_query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=MOST_PARAMETERS
        )
    except ValueError:
        raise ArmError(400, "InvalidQueryString", "the query is not well-formed") from None
    found: dict[str, str] = {}
    for name, value in pairs:
        if not is_plain(name) or not is_plain(value):
            message = "The query holds a character that is not allowed: NUL, or half of a pair of surrogates."
            raise ArmError(400, "InvalidQueryString", message, target=name if is_plain(name) else "")
        found.setdefault(name.lower(), value)
    return found


def is_plain(text: str) -> bool:
    """Whether every database can hold a text: it has no NUL and no half of a surrogate pair; pure."""
    return UNSTORABLE.search(text) is None


def api_version_of(query: Mapping[str, str], known: tuple[str, ...], *, is_needed: bool) -> str:
    """The api-version a request asks for. Raises: `ArmError` when it is missing or not known."""
    text = query.get("api-version", "")
    if not text:
        if is_needed:
            message = "The api-version query parameter (?api-version=) is required for all requests."
            raise ArmError(400, "MissingApiVersionParameter", message)
        return ""
    if text == FIRST_VERSION and not is_needed:
        return text
    if not API_VERSION.fullmatch(text):
        raise ArmError(400, "InvalidApiVersionParameter", f"The api-version '{text[:60]}' is invalid.")
    if known and text.lower() not in known:
        message = f"The api-version '{text}' is invalid. The supported versions are '{','.join(known)}'."
        raise ArmError(400, "InvalidApiVersionParameter", message)
    return text.lower()


def read_body(content: bytes, kind: Body, headers: Mapping[str, str]) -> Any:
    """A request's body: None when there is none. Raises: `ArmError`."""
    if kind is Body.NONE:
        return None
    if kind is Body.FORM:
        try:
            pairs = parse_qsl(content.decode(), keep_blank_values=True, errors="strict", max_num_fields=MOST_PARAMETERS)
        except ValueError:
            raise ArmError(400, "invalid_request", "the body is not a form") from None
        for name, value in pairs:
            if not is_plain(name) or not is_plain(value):
                where = f" in `{name[:60]}`" if is_plain(name) else ""
                raise ArmError(400, "invalid_request", f"the form holds a character that is not allowed{where}")
        return dict(pairs)
    if not content.strip():
        if kind is Body.OPTIONAL_JSON:
            return None
        raise ArmError(400, "InvalidRequestContent", "The request content was invalid: a JSON object is required.")
    content_type = headers.get("content-type", "application/json")
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type not in {"application/json", "text/json", ""} and not media_type.endswith("+json"):
        raise ArmError(415, "UnsupportedMediaType", f"The content media type '{media_type[:60]}' is not supported.")
    content = _as_utf8(content, content_type)
    _check_count(content)
    body = _lenient(content) if kind is Body.LENIENT_JSON else _strict(content)
    if body is None and kind is Body.OPTIONAL_JSON:
        return None
    if not isinstance(body, dict):
        raise ArmError(400, "InvalidRequestContent", "The request content was invalid: it must be a JSON object.")
    check_plain(body)
    return body


def _as_utf8(content: bytes, content_type: str) -> bytes:
    """A body in UTF-8, by its byte order mark or by the `charset` of its type. Raises: `ArmError`.

    Windows PowerShell 5 sends a text as ISO-8859-1 unless it is told otherwise; what is UTF-8 is taken for UTF-8.
    """
    stated = _CHARSET.search(content_type)
    charset = stated[1].lower() if stated else "utf-8"
    coding = next((coding for mark, coding in _MARKS if content.startswith(mark)), _CODINGS.get(charset))
    if coding is None:
        raise ArmError(415, "UnsupportedMediaType", f"The charset '{charset[:60]}' is not supported.")
    if coding == "utf-8":
        return content
    if coding in ("latin-1", "cp1252") and _is_utf8(content):
        return content
    try:
        return content.decode(coding).encode()
    except UnicodeError as error:
        text = f"The request content was invalid and could not be deserialized: {error}"
        raise ArmError(400, "InvalidRequestContent", text) from None


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


def _strict(content: bytes) -> Any:
    try:
        return json.loads(content.decode("utf-8-sig"), parse_constant=_refuse, object_pairs_hook=_object)
    except RecursionError:
        raise _too_deep() from None
    except ValueError as error:
        text = f"The request content was invalid and could not be deserialized: {error}"
        raise ArmError(400, "InvalidRequestContent", text) from None


def _lenient(content: bytes) -> Any:
    try:
        return read_json(content.decode("utf-8-sig"), file_name="the request content", bare_names=True)
    except (RecursionError, UnicodeDecodeError):
        raise ArmError(400, "InvalidRequestContent", "The request content could not be read.") from None
    except TemplateInvalid as error:
        raise ArmError(400, "InvalidRequestContent", error.message) from None


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise ValueError(f"the member `{name[:60]}` is given twice")
            seen.add(name)
    return found


def _check_count(content: bytes) -> None:
    """Refuse a body of more values than any has, before each becomes sixty bytes and more. Raises: `ArmError`."""
    if sum(map(content.count, (b",", b"[", b"{"))) <= MOST_VALUES:
        return
    outside = _STRING.sub(b"", content)  # what stands in texts does not count
    if sum(map(outside.count, (b",", b"[", b"{"))) > MOST_VALUES:
        message = f"The request content was invalid: it has more than {MOST_VALUES} values."
        raise ArmError(400, "InvalidRequestContent", message)


def _too_deep() -> ArmError:
    message = f"The request content was invalid: it is nested more than {MOST_DEPTH} levels deep."
    return ArmError(400, "InvalidRequestContent", message)


def check_plain(body: Any) -> None:
    """Refuse what no database can hold and what is nested too deeply. Raises: `ArmError`."""
    pending: list[tuple[Any, int]] = [(body, 1)]
    while pending:
        value, depth = pending.pop()
        if depth > MOST_DEPTH:
            raise _too_deep()
        if isinstance(value, dict):
            pending += [(name, depth) for name in value]
            pending += [(item, depth + 1) for item in value.values()]
        elif isinstance(value, list):
            pending += [(item, depth + 1) for item in value]
        elif isinstance(value, str) and not is_plain(value):
            raise ArmError(400, "InvalidRequestContent", "The request content holds a character that is not allowed.")
        elif isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 2**63:
            raise ArmError(400, "InvalidRequestContent", "The request content holds a number beyond 64 bits.")
