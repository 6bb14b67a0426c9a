"""What an error's words and its details say: no secret in either, and nothing twice."""

from pathlib import Path

import httpx
import pytest

from vmkiln.buildable.examination import NotBuildable
from vmkiln.cli.output import error_data
from vmkiln.cli.service.answers import failure, refusal
from vmkiln.cli.view.ci_errors import error_marks
from vmkiln.errors import ArmError, Mistake, TemplateInvalid
from vmkiln.secrecy.secret_mask import SecretMask

SECRET = "hunter22-and-more"
LINES = f"{SECRET}\nsecond-line-of-it"


@pytest.mark.parametrize("kind", [TemplateInvalid, NotBuildable])
@pytest.mark.parametrize("secret", [SECRET, LINES], ids=["a line", "two lines"])
def test_no_secret_is_in_the_words_of_an_error_nor_in_its_mistakes(
    kind: type[TemplateInvalid | NotBuildable], secret: str
) -> None:
    """The words of a template's mistakes were masked, and what programs and a CI are told of each was not."""
    error = kind((Mistake("properties.x", f"`{secret}` is wrong", f"not `{secret}`", file="a.json", line=3, column=2),))
    error.mask(SecretMask.of([secret]))
    told = f"{error} {error_data(error)} {error_marks(error, error.mistakes, file=Path('a.json'))}"
    assert not [word for word in secret.split("\n") if word in told]
    assert "a.json:3:2: properties.x: `***` is wrong (not `***`)" in str(error)


@pytest.mark.parametrize("kind", [TemplateInvalid, NotBuildable])
def test_each_mistake_is_a_line_of_the_words(kind: type[TemplateInvalid | NotBuildable]) -> None:
    error = kind((Mistake("name", "`a\n::error::b` is wrong"), Mistake("tags", "is wrong")))
    assert str(error).splitlines()[1:] == ["  name: `a\\x0a::error::b` is wrong", "  tags: is wrong"]


@pytest.mark.parametrize("status", [400, 403, 404, 409, 500, 503])
def test_what_answers_as_no_service_does_ends_alike_whatever_its_status(status: int) -> None:
    told = refusal(httpx.Response(status, content=b"<html>"))
    assert (told.code, told.exit_code) == ("UnexpectedAnswer", 3)


def test_an_operation_without_a_state_ends_as_what_no_service_answers() -> None:
    assert (failure({}).code, failure({}).exit_code) == ("UnexpectedAnswer", 3)
    assert failure({"status": "Failed"}).exit_code == 1


def test_a_detail_is_told_unless_its_words_and_its_place_are() -> None:
    """Three members of which each was too long were told without the names of any."""
    places = ("properties.a", "properties.b", "", "tags")
    details = [{"code": "X", "target": place, "message": "is too long"} for place in places]
    error = {"code": "X", "message": "what is in tags is too long", "details": details}
    told = refusal(httpx.Response(400, json={"error": error}))
    assert told.message.splitlines() == [
        "X: what is in tags is too long",
        "  properties.a: is too long",
        "  properties.b: is too long",
    ]


def test_what_a_service_leaves_empty_is_not_told_as_a_word() -> None:
    error = ArmError(400, "X", "no", details=[{"target": None, "message": None}])
    assert [(one["path"], one["message"]) for one in error_data(error)["error"]["details"]] == [("", "")]
