"""What must not be left in an image, by the names that users relax it by, and who relaxes what; pure."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from vmkiln.errors import InputError, Mistake

TAG = "vmkiln-residues"
ALL = "all"


class Residue(StrEnum):
    """What a build, or the one VM that it ran on, left in the image; a run fails with it, unless it may stay."""

    BUILD_USER = "build-user"
    SUDO_RIGHTS = "sudo-rights"
    LOGIN_KEY = "login-key"
    HOST_KEYS = "host-keys"
    MACHINE_ID = "machine-id"
    CLOUD_INIT = "cloud-init"
    RANDOM_SEED = "random-seed"
    HISTORY = "history"
    LEASES = "leases"
    PACKER_FILES = "packer-files"
    RUN_SECRETS = "run-secrets"
    ANSWER_FILE = "answer-file"
    SET_UP = "set-up"


@dataclass(frozen=True)
class Found:
    """One residue with its place in the image."""

    residue: Residue
    place: str

    def __str__(self) -> str:
        return f"{self.residue}: {self.place}"


@dataclass(frozen=True)
class Allowed:
    """What may be left; `everything` says that no image is looked at."""

    residues: frozenset[Residue] = frozenset()
    everything: bool = False


def _words(text: str) -> list[str]:
    return [word for word in re.split(r"[\s,]+", text.strip().lower()) if word]


def unknown_words(text: str) -> list[str]:
    """What in a list of names is no residue."""
    return [word for word in _words(text) if word != ALL and word not in set(Residue)]


def allowed_of(*texts: str) -> Allowed:
    """What any of these lists allow. Raises: `InputError` for a name that is none."""
    if unknown := [word for text in texts for word in unknown_words(text)]:
        raise InputError(
            f"`{unknown[0]}` is nothing that can be left in an image", hint=f"there are {', '.join([*Residue, ALL])}"
        )
    words = {word for text in texts for word in _words(text)}
    return Allowed(frozenset(Residue(word) for word in words - {ALL}), ALL in words)


def tag_of(tags: Mapping[str, str], name: str = TAG) -> str:
    """What a template's tags say under a name; '' for nothing. Names of tags are the same in any case, as in Azure."""
    return next((value for key, value in tags.items() if key.lower() == name), "")


def residue_tag_mistakes(tags: Mapping[str, str]) -> Iterator[Mistake]:
    """Every name in a template's list that is no residue."""
    for word in unknown_words(tag_of(tags)):
        yield Mistake(f"tags.{TAG}", f"`{word}` is nothing that can be left in an image", ", ".join([*Residue, ALL]))
