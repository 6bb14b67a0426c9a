"""Times and causes as the pages tell them."""

from vmkiln.portal.rendering import duration, lasted, part, plain, when


def test_times_are_told_as_people_read_them() -> None:
    assert [duration(seconds) for seconds in (None, 0.25, 59, 61, 3600 * 2 + 60)] == [
        "", "0.2 s", "59.0 s", "1 min 01 s", "2 h 01 min",
    ]  # fmt: skip
    assert when("2026-01-01T00:01:40.5Z") == "2026-01-01 00:01:40"
    assert [when(""), when(None), when("0001-01-01T00:00:00Z")] == ["", "", ""]
    assert lasted("2026-01-01T00:00:00Z", "2026-01-01T00:00:05Z") == "5.0 s"
    assert plain("a\x1b[31mb\nc\x07") == "ab\nc\\x07"


def test_a_cause_shows_commands_as_code_and_nothing_as_markup() -> None:
    cause = {"what": "`apt-get` found <b>none</b>.", "remedy": "Write `sudo` <i>first</i>."}
    failure: dict[str, object] = {
        "phase": "Customizing",
        "step": "",
        "exitStatus": None,
        "cause": cause,
        "message": "it failed",
    }
    failure |= {"log": None, "comparedWith": ""}
    text = part("run/failure.html", {"failure": failure})
    assert "<code>apt-get</code> found &lt;b&gt;none&lt;/b&gt;." in text
    assert "Write <code>sudo</code> &lt;i&gt;first&lt;/i&gt;." in text
