"""How a setting is declared: its description for people, and the closed lists of words that some of them take."""

from dataclasses import dataclass
from enum import StrEnum


class _Word(StrEnum):
    """A closed list of words; capital letters are taken too."""

    @classmethod
    def _missing_(cls, value: object) -> "_Word | None":
        return next((member for member in cls if isinstance(value, str) and member == value.lower()), None)


class LogFormat(_Word):
    """How a process writes its log."""

    TEXT = "text"
    JSON = "json"


class LogLevel(_Word):
    """What a process writes of its log: this, and what weighs more."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Checkpoints(_Word):
    """Of which builds something is kept for later ones: of none, of commands', of the service's too."""

    NONE = "none"
    COMMANDS = "commands"
    ALL = "all"


@dataclass(frozen=True)
class Description:
    """A setting for people: what it does, the flag that sets it too, the least and the most, whether it is a secret."""

    text: str
    flag: str = ""
    least: float | None = None
    most: float | None = None
    is_secret: bool = False
