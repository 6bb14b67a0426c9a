"""`vmkiln settings`: what is in force and from where; what there is to set."""

import json
from typing import Annotated, Any

import typer

from vmkiln.cli.invocation import settings_here
from vmkiln.cli.manual.examples import examples
from vmkiln.cli.output import answer, show_rows
from vmkiln.cli.template_options import JsonOption

HEAD = """# Settings

Written by `vmkiln settings --describe > docs/settings.md`; a test compares the two.

A setting comes from a flag of the command, else from the environment, else from the settings file, else it has its
default. `vmkiln settings` shows what is in force and from where, with `--json` for programs; secrets are masked.

The settings file is `vmkiln.toml` in the state directory: the service, and every command that works there, have the
same settings without being told. `VMKILN_SETTINGS_FILE` names a file elsewhere, such as `/etc/vmkiln/vmkiln.toml`,
which may also say where the state directory is (`home`). It is TOML, a setting a line:

    database_url = "postgresql://vmkiln:PASSWORD@db.example.org/vmkiln"
    lease_seconds = 30
    log_format = "json"

A file with a secret must not be readable by every user (`chmod o-r`). What is no setting is an error in the file, and
in the environment a warning that names the nearest one.

| in the file | in the environment | flag | what it does | default |
|---|---|---|---|---|
"""


def as_rows() -> list[dict[str, Any]]:
    """What is in force, a row a setting, without secrets. Raises: `InputError`."""
    from vmkiln.settings import declared_settings
    from vmkiln.shown_settings import shown

    found = settings_here()
    return [
        {
            "name": one.name,
            "variable": one.variable,
            "value": shown(one, getattr(found.settings, one.name)),
            "origin": found.origins[one.name],
        }
        for one in declared_settings()
    ]


def page() -> str:
    """Every setting as a page of documentation; pure."""
    from vmkiln.settings import NO_DEFAULT, declared_settings

    lines = []
    for one in declared_settings():
        description = one.description
        text = description.text if description.least is None else f"{description.text} At least {description.least:g}."
        text += "" if description.most is None else f" At most {description.most:g}."
        text += " A secret." if description.is_secret else ""
        default = "" if one.default in {NO_DEFAULT, None, ""} else f"`{json.dumps(one.default)}`"
        flag = "" if not description.flag else _flag(description.flag)
        lines.append(f"| `{one.name}` | `{one.variable}` | {flag} | {text} | {default} |")
    return HEAD + "\n".join(lines) + "\n"


def _flag(text: str) -> str:
    name, _, rest = text.partition(" ")
    return f"`{name}` {rest}".strip()


@examples("vmkiln settings", "vmkiln settings --describe")
def settings(
    as_json: JsonOption = False,
    describe: Annotated[bool, typer.Option("--describe", help="Describe every setting, as Markdown.")] = False,
) -> None:
    """Show the settings that are in force, and where each comes from."""
    if describe:
        typer.echo(page(), nl=False)
        return
    rows = as_rows()
    if as_json:
        answer(rows)
        return
    show_rows(
        ("SETTING", "FROM", "VALUE"),
        [(row["name"], row["origin"], _value_text(row["value"])) for row in rows],
        none="there is no setting",
    )


def _value_text(value: object) -> str:
    if value is None or value == "":
        return "-"
    return str(value).lower() if isinstance(value, bool) else str(value)
