"""Bodies are read in time that grows with their length, and hold so many values at most."""

import json
from urllib.parse import urlencode

import pytest

from vmkiln.api.protocol import reading
from vmkiln.api.protocol.reading import MOST_VALUES, query_values, read_body
from vmkiln.api.protocol.route import Body
from vmkiln.errors import ArmError

compared = 0


class Name(str):
    """A member's name that counts how often it is compared."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        global compared  # noqa: PLW0603 (dictionaries compare, and know nobody to tell)
        compared += 1
        return str.__eq__(self, other)  # type: ignore[arg-type]


def test_a_member_that_is_given_twice_is_found_in_one_pass() -> None:
    """It was one pass for each name before it: minutes for a body of 4 MiB."""
    global compared  # noqa: PLW0603
    compared = 0
    names = [Name(f"n{index}") for index in range(5_000)]
    with pytest.raises(ValueError, match="`n4999` is given twice"):
        reading._object([(name, 0) for name in [*names, Name("n4999")]])
    assert compared <= 10 * len(names)


@pytest.mark.parametrize("kind", [Body.JSON, Body.LENIENT_JSON])
@pytest.mark.parametrize("many", ["0,", "[],", "{},", '"",'])
def test_a_body_of_too_many_values_is_refused_before_it_is_read(
    kind: Body, many: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_strict", None)
    monkeypatch.setattr(reading, "_lenient", None)
    content = f'{{"a":[{many * MOST_VALUES}0]}}'.encode()
    with pytest.raises(ArmError, match=f"more than {MOST_VALUES} values"):
        read_body(content, kind, {})


@pytest.mark.parametrize("text", ["," * 500_000, "[" * 500_000, '{"\\,' * 100_000])
def test_marks_inside_a_text_are_no_values(text: str) -> None:
    body = {"script": text}
    for kind in (Body.JSON, Body.LENIENT_JSON):
        assert read_body(json.dumps(body).encode(), kind, {}) == body


def test_a_text_that_is_never_closed_is_gone_through_once() -> None:
    """Each quote in it began another pass to the end when it had to be closed."""
    content = b'{"a":[' + b"0," * MOST_VALUES + b'"' + b'\\"' * 500_000
    with pytest.raises(ArmError, match="values"):
        read_body(content, Body.JSON, {})


@pytest.mark.parametrize("name", ["skiptoken", "$skipToken"])
def test_a_whole_next_link_given_as_skiptoken_leads_to_its_page(name: str) -> None:
    link = "https://localhost:8443/subscriptions/s/resources?api-version=2021-04-01&$top=50&$skipToken=a%2Fb%26c"
    given = query_values(urlencode({"api-version": "2022-09-01", "$top": "150", name: link}).encode())
    assert (given["$skiptoken"], given["$top"], given["api-version"]) == ("a/b&c", "50", "2022-09-01")


def test_a_next_link_that_is_no_link_is_refused_or_left_as_it_is() -> None:
    assert query_values(b"skiptoken=abc") == {"skiptoken": "abc"}
    assert query_values(b"$skipToken=abc") == {"$skiptoken": "abc"}
    with pytest.raises(ArmError, match="not well-formed"):
        query_values(urlencode({"skiptoken": "https://x?$skipToken=%ff"}).encode())


WORD = "Kühlschränke €"


@pytest.mark.parametrize(
    ("content_type", "coding"),
    [
        ("application/json", "utf-8"),
        ("application/json", "utf-8-sig"),
        ("application/json;charset=UTF-8", "utf-8"),
        ('text/json; odata=verbose; Charset = "utf-8"', "utf-8-sig"),
        ("application/json; charset=utf-16", "utf-16"),
        ("application/json", "utf-16"),
        ("application/json; charset=utf-16le", "utf-16-le"),
        ("application/json; charset=utf-16BE", "utf-16-be"),
        ("application/json; charset=utf-8", "utf-32"),
        ("application/json; charset=windows-1252", "cp1252"),
        ("application/json; charset=windows-1252", "utf-8"),
        ("application/json; charset=iso-8859-1", "utf-8"),
    ],
)
def test_a_body_is_read_in_the_letters_that_it_is_written_in(content_type: str, coding: str) -> None:
    content = json.dumps({"a": WORD}, ensure_ascii=False).encode(coding)
    for kind in (Body.JSON, Body.LENIENT_JSON, Body.OPTIONAL_JSON):
        assert read_body(content, kind, {"content-type": content_type}) == {"a": WORD}


def test_iso_8859_1_is_what_windows_powershell_sends() -> None:
    content = '{"a": "Kühlschränke"}'.encode("latin-1")
    assert read_body(content, Body.JSON, {"content-type": "application/json; charset=ISO-8859-1"}) == {
        "a": "Kühlschränke"
    }


@pytest.mark.parametrize(
    ("content_type", "content", "status"),
    [
        ("application/json; charset=ebcdic", b"{}", 415),
        ("application/json; charset=utf-16", b"{}{", 400),
        ("application/json; charset=windows-1252", b'{"a": "\x81\xe4"}', 400),
        ("application/json", b"\xff\xfe{", 400),
        ("application/json; charset=utf-16le", b'{\x00"\x00\x00\xd8', 400),
    ],
)
def test_a_body_in_other_letters_is_refused(content_type: str, content: bytes, status: int) -> None:
    with pytest.raises(ArmError) as caught:
        read_body(content, Body.JSON, {"content-type": content_type})
    assert caught.value.status == status


def test_null_is_no_body_where_none_is_needed() -> None:
    assert read_body(b" null ", Body.OPTIONAL_JSON, {}) is None
    for kind, content in ((Body.JSON, b"null"), (Body.OPTIONAL_JSON, b"[]")):
        with pytest.raises(ArmError, match="must be a JSON object"):
            read_body(content, kind, {})
