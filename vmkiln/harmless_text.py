"""Text that a guest wrote, made harmless for a terminal or a page: it can show itself, and nothing else.

Control characters, escape sequences, signs that turn the direction of writing, and bytes that are no text are shown,
not obeyed. Colours are left out. A carriage return is shown as `\\r`: on a terminal, what comes behind it would hide
what stands before it. Those at the end of a line hide nothing and are left out.
Source: ECMA-48; docs/reference/hostile-input.md#text-of-a-guest.
"""

import re
import unicodedata

RETURN = "\\r"  # how a carriage return is shown
UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")  # NUL, halves of surrogate pairs: not every database keeps them
_HALVES = re.compile("[\ud800-\udfff]")  # of surrogate pairs: a file's name has them for bytes that are no UTF-8
_COLOUR = re.compile(r"\x1b\[[0-9;:]*m")
_MARK = re.compile(r"(\A|[\r\n])([^\S\r\n]*):(?=:)")  # GitHub obeys `::error::` behind blanks, too
_OLD_MARK = "##["  # and this one wherever it stands in a line
# control, format (bidi among them), surrogate, private, unassigned; separators of lines and of paragraphs
_HIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def harmless(text: str) -> str:
    """One line of text without its power over a terminal; tabs stay, a line end within is shown."""
    text = _COLOUR.sub("", text).rstrip("\r").replace("\r", RETURN)
    if text.isprintable():
        return text
    return "".join(letter if _is_plain(letter) else _shown(letter) for letter in text)


def with_whole_letters(text: str) -> str:
    """Text whose bytes that are no UTF-8 are shown, as `\\xff`; a reader of strict JSON refuses halves of letters."""
    return _HALVES.sub(lambda found: _shown(found[0]), text)


def harmless_lines(text: str) -> str:
    """Text of several lines, each made harmless."""
    return "\n".join(harmless(line) for line in text.split("\n"))


def without_marks(text: str) -> str:
    """Text no line of which GitHub takes for a mark, such as `::error::` or `##[error]`; a sign of one is shown."""
    return _MARK.sub(r"\1\2\\x3a", text).replace(_OLD_MARK, "#\\x23[")


def _is_plain(letter: str) -> bool:
    return letter == "\t" or unicodedata.category(letter) not in _HIDDEN_CATEGORIES


def _shown(letter: str) -> str:
    number = ord(letter)
    if 0xDC80 <= number <= 0xDCFF:
        number -= 0xDC00  # a byte that was no UTF-8
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
