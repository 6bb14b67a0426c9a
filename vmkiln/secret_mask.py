"""What must not be shown, taken out of whatever is shown: values of secure parameters, and signatures in URLs.

A value of fewer than four characters is masked only where it is the whole text: to mask every `a` would hide nothing
and make a log unreadable. A value of several lines is masked line by line, for that is how logs come.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

MASK = "***"
LEAST_LETTERS = 4
# the signature of a shared access signature; what is around it may be known
_SIGNATURE = re.compile(r"([?&;]sig=)[^&;\s\"'<>]+", re.IGNORECASE)


@dataclass(frozen=True)
class SecretMask:
    """Replaces secrets in texts by `***`. Without secrets it still masks the signatures in URLs."""

    secrets: frozenset[str] = field(default=frozenset(), repr=False)

    @classmethod
    def of(cls, values: Iterable[str]) -> "SecretMask":
        """A mask for these values."""
        return cls(frozenset(values) - {""})

    @property
    def too_short(self) -> bool:
        """Whether there is a value that cannot be masked inside a longer text."""
        return any(len(secret) < LEAST_LETTERS for secret in self.secrets)

    @property
    def longest(self) -> int:
        """Letters of the longest piece that is looked for."""
        return max(map(len, self._pieces()), default=0)

    def _pieces(self) -> list[str]:
        lines = {line.strip("\r") for secret in self.secrets for line in (secret, *secret.split("\n"))}
        return sorted((line for line in lines if len(line.strip()) >= LEAST_LETTERS), key=len, reverse=True)

    def __call__(self, text: str) -> str:
        """The text without secrets; the longest are taken out first, for one may contain another."""
        if text in self.secrets:
            return MASK
        for piece in self._pieces():
            text = text.replace(piece, MASK)
        return _SIGNATURE.sub(rf"\1{MASK}", text)

    def value(self, value: Any) -> Any:
        """Plain data with every text in it masked; the names of members too."""
        if isinstance(value, Mapping):
            return {self(str(name)): self.value(item) for name, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(item) for item in value]
        return self(value) if isinstance(value, str) else value


NO_SECRETS = SecretMask()
