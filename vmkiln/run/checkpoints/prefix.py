"""What a build's VM has come to behind each customizer, as a key: all that came before, in its order; pure.

Whatever may have had a part in it is in the key, so a checkpoint is found only where the same would come out again. A
file's place, a step's name and the limits of a build have no part in it.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from vmkiln.buildable.start_tags import NEVER_TAG
from vmkiln.host.saved import saved_vm
from vmkiln.packer.packer_template import FileCopy, InlineShell, ScriptShell, Step
from vmkiln.run.checkpoints.file_search import HIDDEN, has_secret
from vmkiln.secrecy.secret_mask import SecretMask

MARKED = f"the tag `{NEVER_TAG}` names it"


@dataclass(frozen=True)
class Content:
    """What a customizer does: its step, the digest of its script or file ('' for an inline one).

    `template_text` is all that the template says of it. `finding` is why nothing may be kept behind it for what its
    script or file has in it; '' when nothing of that is secret.
    """

    step: Step
    digest: str
    template_text: str
    finding: str = ""


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
        if reason := content.finding or _why_never(content, mask, never):
            return Positions(tuple(found), f"from `{mask(name)}` on nothing is kept: {reason}")
        key = saved_vm.key_of({"before": key, "step": list(_facts(content))})
        found.append(Position(number, key, name))
    return Positions(tuple(found))


def _why_never(content: Content, mask: SecretMask, never: frozenset[str]) -> str:
    """Why nothing may be kept behind a step for what the template says of it."""
    step = content.step
    texts = [content.template_text]
    if isinstance(step, InlineShell):
        texts += step.lines
    if isinstance(step, FileCopy):
        texts.append(step.destination)
    if any(has_secret(text, mask) for text in texts):
        return HIDDEN
    return MARKED if step.name.lower() in never else ""


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
