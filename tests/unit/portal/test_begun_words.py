"""Who or what began a run, as a row of a list says it."""

import pytest

from vmkiln.portal.overview.begun import begun_words


@pytest.mark.parametrize(
    ("origin", "reason", "who", "words"),
    [
        ("service", "request", "maria", "by maria"),
        ("service", "request", "", "by hand"),
        ("service", "retry", "maria", "again by maria"),
        ("service", "retry", "", "again"),
        ("service", "autoRun", "", "by itself, when its template was made"),
        ("service", "trigger nightly", "", "by the trigger nightly"),
        ("service", "", "", ""),
        ("local", "", "maria", "vmkiln build by maria"),
        ("local", "", "", "by a command"),  # such as the check of an imported Windows image
    ],
)
def test_a_row_says_who_began_a_run(origin: str, reason: str, who: str, words: str) -> None:
    assert begun_words({"origin": origin, "reason": reason, "begunBy": who}) == words
