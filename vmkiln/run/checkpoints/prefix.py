"""What a build's VM has come to behind each customizer, as a key: all that came before, in its order; pure.

Whatever may have had a part in it is in the key, so a checkpoint is found only where the same would come out again. A
file's place, a step's name and the limits of a build have no part in it.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from vmkiln.host.saved import saved_vm
from vmkiln.packer.packer_template import FileCopy, InlineShell, ScriptShell, Step
from vmkiln.secrecy.secret_mask import SecretMask

MOST_SEARCHED_BYTES = 1024 * 1024
HIDDEN = "something of it is never shown"
MARKED = "the tag `vmkiln-never-kept` names it"


@dataclass(frozen=True)
class Content:
    """What a customizer does: its step, the digest of its script or file ('' for an inline one), the file's beginning.

    `template_text` is all that the template says of it.
    """

    step: Step
    digest: str
    beginning: bytes
    template_text: str


@dataclass(frozen=True)
class Position:
    """A place behind a customizer, counted from 1: the key of what the VM has come to there, and the step's name."""

    number: int
    key: str
    step: str


@dataclass(frozen=True)
class Positions:
    """Those that may be kept, from the first on without a gap; `reason` is why not the next one, '' when all may."""

    kept: tuple[Position, ...] = ()
    reason: str = ""


def positions(
    before: Mapping[str, object], contents: Sequence[Content], *, mask: SecretMask, never: frozenset[str] = frozenset()
) -> Positions:
    """The positions of a build.

    `before` is what was there before the first customizer, `never` the names of steps that are never kept. From the
    first step on that has a secret, or is one of those, nothing is kept: RAM and disk hold it from then on.
    """
    found: list[Position] = []
    key = saved_vm.key_of(before)
    for number, content in enumerate(contents, start=1):
        name = content.step.name
        if reason := HIDDEN if has_secret(content, mask) else MARKED if name.lower() in never else "":
            return Positions(tuple(found), f"from `{mask(name)}` on nothing is kept: {reason}")
        key = saved_vm.key_of({"before": key, "step": list(_facts(content))})
        found.append(Position(number, key, name))
    return Positions(tuple(found))


def has_secret(content: Content, mask: SecretMask) -> bool:
    """Whether the text of a step, as the template has it or as it is in its script, would be shown masked."""
    step = content.step
    texts = [content.template_text, content.beginning.decode(errors="surrogateescape")]
    if isinstance(step, InlineShell):
        texts += step.lines
    if isinstance(step, FileCopy):
        texts.append(step.destination)
    return any(mask(text) != text for text in texts) or (mask.too_short and _is_short_secret(texts, mask))


def _is_short_secret(texts: Sequence[str], mask: SecretMask) -> bool:
    """A secret of fewer letters than are masked in a text may be anywhere in it."""
    return any(secret in text for secret in mask.secrets for text in texts)


def _facts(content: Content) -> Iterator[object]:
    match content.step:
        case InlineShell(lines=lines):
            yield from ("inline", list(lines))
        case ScriptShell():
            yield from ("script", content.digest)
        case FileCopy(destination=destination):
            yield from ("file", content.digest, destination)
        case step:
            raise ValueError(f"{step.name} is no customizer")


def digest_of_text(text: str) -> str:
    """SHA-256 of a text, as hexadecimal digits."""
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()
