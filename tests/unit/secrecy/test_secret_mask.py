"""Secrets are taken out of whatever is shown."""

import pytest

from vmkiln.packer.packer_output import BuildError, Line, PackerOutput, Speaker
from vmkiln.secrecy.secret_mask import SecretMask


def test_a_secret_is_masked_wherever_it_stands() -> None:
    assert SecretMask.of(["hunter22"])("a hunter22, and hunter22!") == "a ***, and ***!"


def test_the_longest_secret_goes_first() -> None:
    assert SecretMask.of(["pass", "password"])("password pass") == "*** ***"


def test_a_secret_of_several_lines_is_masked_line_by_line() -> None:
    mask = SecretMask.of(["first line\r\nsecond line\n}"])
    assert mask("x first line") == "x ***"
    assert mask("second line y }") == "*** y }"


def test_a_short_secret_is_masked_only_where_it_is_all(self_mask: SecretMask) -> None:
    assert self_mask("abc") == "***"
    assert self_mask("abcd") == "abcd"
    assert self_mask.too_short


@pytest.fixture
def self_mask() -> SecretMask:
    return SecretMask.of(["abc"])


def test_signatures_in_addresses_are_masked_without_being_named() -> None:
    text = "GET https://x.example/a?sv=1&sig=abc%2Fdef&se=2 failed"
    assert SecretMask()(text) == "GET https://x.example/a?sv=1&sig=***&se=2 failed"


def test_plain_data_is_masked_in_its_depth() -> None:
    value = {"a": ["hunter22", {"hunter22": 1}], "b": True, "c": None}
    assert SecretMask.of(["hunter22"]).value(value) == {"a": ["***", {"***": 1}], "b": True, "c": None}


def test_a_mask_does_not_show_its_secrets() -> None:
    assert "hunter22" not in repr(SecretMask.of(["hunter22"]))


def test_no_empty_text_is_a_secret() -> None:
    assert SecretMask.of(["", "   \n"])("a   b") == "a   b"


def record(text: str, kind: str = "message") -> bytes:
    return f"1700000000,,ui,{kind},    null: {text}\n".encode()


def test_packers_output_is_masked() -> None:
    output = PackerOutput(SecretMask.of(["one,two,three"]))
    events = output.feed(record("it is one%!(PACKER_COMMA)two%!(PACKER_COMMA)three"))
    assert events == [Line("    null: it is ***", Speaker.GUEST)]
    (error,) = output.feed(b"1700000000,null,error,said one%!(PACKER_COMMA)two%!(PACKER_COMMA)three\n")
    assert error == BuildError("said ***")


@pytest.mark.parametrize("place", range(256 * 1024 - 60, 256 * 1024 + 10, 7))
def test_a_secret_across_two_parts_of_a_long_line_is_masked(place: int) -> None:
    output = PackerOutput(SecretMask.of(["a-secret-of-many-letters"]))
    stream = record("x" * place + "a-secret-of-many-letters" + "y" * 1000)
    events = [event for start in range(0, len(stream), 4096) for event in output.feed(stream[start : start + 4096])]
    text = "".join(event.text for event in events if isinstance(event, Line))
    assert text == "    null: " + "x" * place + "***" + "y" * 1000


def test_digits_of_a_secret_do_not_spoil_packers_records() -> None:
    output = PackerOutput(SecretMask.of(["1700000000", "message"]))
    assert output.feed(record("fine")) == [Line("    null: fine", Speaker.GUEST)]
