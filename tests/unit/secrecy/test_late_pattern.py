"""A late pattern does what the compiled one does, and is compiled once, when it is first looked for."""

import re

from vmkiln.secrecy.late_pattern import LatePattern

TEXT = "Aab aB"


def test_a_late_pattern_finds_what_the_compiled_one_finds() -> None:
    late, compiled = LatePattern(r"a(?P<rest>b)", re.IGNORECASE), re.compile(r"a(?P<rest>b)", re.IGNORECASE)
    assert "_compiled" not in vars(late)
    found, wanted = late.search(TEXT), compiled.search(TEXT)
    assert found is not None
    assert wanted is not None
    assert found.span("rest") == wanted.span("rest")
    assert [one.span() for one in late.finditer(TEXT)] == [one.span() for one in compiled.finditer(TEXT)]
    assert late.sub(r"<\g<rest>>", TEXT) == compiled.sub(r"<\g<rest>>", TEXT) == "A<b> <B>"
    assert late.search("none") is None
    assert late == LatePattern(r"a(?P<rest>b)", re.IGNORECASE)
