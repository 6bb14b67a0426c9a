"""Text that a guest wrote, made harmless for a terminal: it can show itself, and nothing else.

Control characters, escape sequences and signs that turn the direction of writing are shown, not obeyed. Colours are
left out. A carriage return keeps the last of the texts that were written over each other.
"""

import re
import unicodedata

# ECMA-48: control sequences, and strings that end with ST or BEL (titles, clipboard, links)
_COLOUR = re.compile(r"\x1b\[[0-9;:]*m")
_SEQUENCE = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"
    r"|\x1b[\]PX^_].*?(?:\x1b\\|\x07|$)"
    r"|\x9b[0-?]*[ -/]*[@-~]"
    r"|[\x90\x98\x9d-\x9f].*?(?:\x9c|\x07|$)"
    r"|\x1b[ -/]*[0-~]",
    re.DOTALL,
)
_HIDDEN_CATEGORIES = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def harmless(text: str) -> str:
    """One line of text without its power over a terminal; tabs stay."""
    text = _COLOUR.sub("", text)
    if "\r" in text:
        parts = [part for part in text.split("\r") if part]
        text = parts[-1] if parts else ""
    text = _SEQUENCE.sub(lambda found: "".join(_shown(letter) for letter in found[0]), text)
    return "".join(letter if _is_plain(letter) else _shown(letter) for letter in text)


def _is_plain(letter: str) -> bool:
    return letter == "\t" or unicodedata.category(letter) not in _HIDDEN_CATEGORIES


def _shown(letter: str) -> str:
    if _is_plain(letter):
        return letter
    number = ord(letter)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
