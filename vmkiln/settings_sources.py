"""Reads the settings: a command's flags come before the environment, then the settings file, then defaults.

The file is `vmkiln.toml` in the state directory, or the one that `VMKILN_SETTINGS_FILE` names. It belongs to the state
directory so that the service and every command that works there have the same settings without being told.
"""

import difflib
import os
import stat
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from vmkiln.errors import InputError
from vmkiln.settings import (
    FILE_NAME,
    FILE_VARIABLE,
    PREFIX,
    Declared,
    Settings,
    checked_together,
    declared_settings,
)

OTHER_READERS = ("VMKILN_TEST_", "VMKILN_PACKER_", "VMKILN_DEMO_")  # our tests and scripts
MOST_FILE_BYTES = 1024**2
NOT_YOURS = "set VMKILN_HOME, or VMKILN_SETTINGS_FILE, to what this user may read"
FLAG, ENVIRONMENT, DEFAULT = "flag", "environment", "default"
STANDARD = "the environment's proxies"
# settings that many programs know by a name of their own (curl(1)); the first that is set counts
STANDARD_NAMES = {
    "http_proxy": ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"),
    "https_proxy": ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"),
    "no_proxy": ("no_proxy", "NO_PROXY"),
}


@dataclass(frozen=True)
class InForce:
    """The settings of a process; of each the origin (`flag`, `environment`, the file's path, `default`); warnings."""

    settings: Settings
    origins: Mapping[str, str]
    warnings: tuple[str, ...] = ()


def default_home(environment: Mapping[str, str]) -> Path:
    """The state directory when none is set (XDG Base Directory Specification); pure but for the home directory."""
    state = environment.get("XDG_STATE_HOME") or str(Path(environment.get("HOME") or "~").expanduser() / ".local/state")
    return Path(state).absolute() / "vmkiln"


def settings_in_force(environment: Mapping[str, str], flags: Mapping[str, Any]) -> InForce:
    """The settings that flags (None where one was not given), environment and file give, and where each comes from.

    Raises: `InputError` that names every mistake with where it was made.
    """
    declared = {one.name: one for one in declared_settings()}
    given = {name: value for name, value in flags.items() if value is not None}
    home = given.get("home") or environment.get(declared["home"].variable) or ""
    file, is_named = _settings_file(environment, Path(home).absolute() if home else default_home(environment))
    found: dict[str, Mapping[str, Any]] = {  # what comes first counts
        FLAG: given,
        ENVIRONMENT: _set_in(environment, declared.values()),
        str(file): _said_in(file, may_set_home=is_named),
        STANDARD: standard_settings(environment),
        DEFAULT: {"home": default_home(environment)},
    }
    origins = {name: next((o for o, values in found.items() if name in values), DEFAULT) for name in declared}
    values = _checked(declared, found)
    values["home"] = values["home"].expanduser().absolute()
    return InForce(checked_together(Settings(**values)), origins, tuple(unknown_variables(environment)))


def standard_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """What variables say that other programs read, too; pure.

    A proxy may lack its scheme, which is http then (curl(1)); one of a kind that is not known here is left out.
    """
    found = {}
    for name, variables in STANDARD_NAMES.items():
        value = next((value for one in variables if (value := environment.get(one, "").strip())), "")
        if name != "no_proxy" and value and "://" not in value:
            value = f"http://{value}"
        if value and (name == "no_proxy" or value.lower().startswith(("http://", "https://"))):
            found[name] = value
    return found


def settings_from(environment: Mapping[str, str]) -> Settings:
    """Settings as this environment gives them, and the settings file in its state directory. Raises: `InputError`."""
    return settings_in_force(environment, {}).settings


def read_settings() -> Settings:
    """Settings of this process, without flags. Raises: `InputError`."""
    return settings_from(os.environ)


def unknown_variables(environment: Mapping[str, str]) -> Iterator[str]:
    """A sentence about each variable that looks like a setting and is none; pure."""
    known = [FILE_VARIABLE, *(one.variable for one in declared_settings())]
    for name in sorted(environment):
        if name.startswith(PREFIX) and not name.startswith(OTHER_READERS) and name not in known:
            yield f"{name} in the environment is no setting{_meant(name, known)}"


def _meant(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name.removeprefix(PREFIX), [one.removeprefix(PREFIX) for one in known], n=1)
    return f"; did you mean {PREFIX}{near[0]}?" if near else "; `vmkiln settings` shows those there are"


def _set_in(environment: Mapping[str, str], declared: Iterable[Declared]) -> dict[str, str]:
    """What the environment sets; names are as they are written, and '' is not set; pure."""
    return {one.name: value for one in declared if (value := environment.get(one.variable, "").strip())}


def _settings_file(environment: Mapping[str, str], home: Path) -> tuple[Path, bool]:
    """The settings file, and whether it was named (it must be there then). Raises: `InputError`."""
    if named := environment.get(FILE_VARIABLE):
        path = Path(named).expanduser().absolute()
        if not path.is_file():
            raise InputError(f"{FILE_VARIABLE} names {path}, and there is no such file")
        return path, True
    return home / FILE_NAME, False


def _said_in(path: Path, *, may_set_home: bool) -> dict[str, Any]:
    """What the file says; nothing when there is none. Raises: `InputError`."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}", hint=NOT_YOURS) from error
    if found.st_size > MOST_FILE_BYTES:
        raise InputError(f"{path} is larger than {MOST_FILE_BYTES} bytes, and no settings file")
    if found.st_mode & stat.S_IWOTH:
        raise InputError(f"every user of this machine may write to {path}", hint=f"chmod o-w {path}")
    try:
        said = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path} is not TOML: {error}", hint='write a setting a line, such as log_level = "debug"'
        ) from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}", hint=NOT_YOURS) from error
    secret = [one.name for one in declared_settings() if one.description.is_secret and said.get(one.name)]
    if secret and found.st_mode & stat.S_IROTH:
        raise InputError(
            f"{path} has `{secret[0]}`, which is a secret, and every user of this machine may read it",
            hint=f"chmod o-r {path}",
        )
    if "home" in said and not may_set_home:
        raise InputError(
            f"{path} has `home`, but lies in the state directory itself",
            hint=f"set VMKILN_HOME, or name a file elsewhere by {FILE_VARIABLE}",
        )
    return said


def _checked(declared: Mapping[str, Declared], found: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The value of each setting. Raises: `InputError` with every mistake."""
    values: dict[str, Any] = {}
    told = []
    for name, one in declared.items():
        given = next((source[name] for source in found.values() if name in source), one.default)
        values[name], mistakes = _value(one, given) if given is not one.default else (given, ())
        told += [_mistake(name, text, declared, found) for text in mistakes]
    for origin, source in found.items():
        told += [_unknown(name, origin, declared) for name in source if name not in declared]
    if told:
        raise InputError("\n".join(told), hint="docs/settings.md describes every setting")
    return values


def _value(one: Declared, given: Any) -> tuple[Any, Sequence[str]]:
    """A setting's value as its type has it, and what is wrong with it, never with the value itself; pure."""
    if one.kind is type(given) and one.kind in {str, bool}:  # most are: no need for what checks the others
        return given, ()
    if one.kind in (Path, Path | None) and isinstance(given, str | Path):
        return Path(given), ()
    # takes a tenth of a second to import, which a command without such a setting is spared
    from pydantic import Field, TypeAdapter, ValidationError  # noqa: PLC0415

    bounds = {"ge": one.description.least, "le": one.description.most}
    limits: dict[str, Any] = {name: bound for name, bound in bounds.items() if bound is not None}
    if one.kind is float:
        limits["allow_inf_nan"] = False
    kind: Any = Annotated[one.kind, Field(**limits)]
    try:
        return TypeAdapter(kind).validate_python(given), ()
    except ValidationError as error:
        return None, [str(item["msg"]) for item in error.errors(include_input=False, include_url=False)]


def _unknown(name: str, origin: str, declared: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(declared), n=1)
    return f"`{name}` in {origin} is no setting" + (f"; did you mean `{near[0]}`?" if near else "")


def _mistake(name: str, text: str, declared: Mapping[str, Declared], found: Mapping[str, Mapping[str, Any]]) -> str:
    """One mistake with where it was made, never with the value, which may be a secret; pure."""
    origin = next((origin for origin, values in found.items() if name in values), DEFAULT)
    names = {
        FLAG: declared[name].description.flag.split()[0] if declared[name].description.flag else name,
        ENVIRONMENT: f"{declared[name].variable} in the environment",
    }
    return f"{names.get(origin, f'`{name}` in {origin}')}: {text[0].lower()}{text[1:]}"
