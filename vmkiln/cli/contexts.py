"""Contexts: the services that the command line knows, with what it logs in with; one of them may be in use.

They lie in `$XDG_CONFIG_HOME/vmkiln/contexts.json`, which only its owner may read (XDG Base Directory Specification).
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from vmkiln.errors import InputError


@dataclass(frozen=True)
class Context:
    """One service: its URL, the authority it is trusted by beside the system's (PEM), and a secret or a token."""

    url: str
    authority: str = ""
    app_id: str = ""
    secret: str = field(default="", repr=False)
    token: str = field(default="", repr=False)


@dataclass(frozen=True)
class Contexts:
    """Every known service by name, and the name of the one in use; '' is this machine, without a service."""

    current: str = ""
    known: Mapping[str, Context] = field(default_factory=dict)

    def find(self, name: str) -> Context:
        """The context of this name. Raises: `InputError`."""
        if name not in self.known:
            names = ", ".join(sorted(self.known)) or "none"
            raise InputError(f"there is no context `{name}`", hint=f"known are: {names}; `vmkiln login URL` adds one")
        return self.known[name]

    @property
    def in_use(self) -> Context | None:
        """The context in use, or none."""
        return self.find(self.current) if self.current else None

    def chosen(self, name: str) -> Context | None:
        """The context of this name, or with '' the one in use. Raises: `InputError`."""
        return self.find(name) if name else self.in_use

    def used(self, name: str) -> "Contexts":
        """The same, with another one in use; '' for none. Raises: `InputError`."""
        if name:
            self.find(name)
        return replace(self, current=name)

    def with_context(self, name: str, context: Context) -> "Contexts":
        """The same, with one more, which is in use."""
        return Contexts(name, {**self.known, name: context})

    def without(self, name: str) -> "Contexts":
        """The same, with one forgotten. Raises: `InputError`."""
        self.find(name)
        known = {other: context for other, context in self.known.items() if other != name}
        return Contexts("" if self.current == name else self.current, known)


def contexts_file(environment: Mapping[str, str]) -> Path:
    """Where contexts are kept; pure but for the home directory."""
    folder = environment.get("XDG_CONFIG_HOME") or str(Path(environment.get("HOME") or "~").expanduser() / ".config")
    return Path(folder).absolute() / "vmkiln" / "contexts.json"


def read_contexts(path: Path) -> Contexts:
    """The contexts in a file, none when it is missing. Raises: `InputError` when it cannot be read."""
    try:
        found = json.loads(path.read_text())
        known = {str(name): Context(**values) for name, values in found["contexts"].items()}
        return Contexts(str(found["current"]), known)
    except FileNotFoundError:
        return Contexts()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} cannot be read: {error}", hint="repair or remove it, and log in again") from error


def write_contexts(path: Path, contexts: Contexts) -> None:
    """Keep contexts; only their owner may read them."""
    from vmkiln.files.durable_file import write_whole
    from vmkiln.files.private_folder import private_folder

    private_folder(path.parent)
    content = {
        "current": contexts.current,
        "contexts": {name: asdict(context) for name, context in contexts.known.items()},
    }
    write_whole(path, json.dumps(content, indent=2).encode() + b"\n")
