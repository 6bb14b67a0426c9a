"""`vmkiln schema`, `explain` and `init`: help with writing an image template."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vmkiln.azure_names import NEWEST_API_VERSION
from vmkiln.cli.manual.examples import examples
from vmkiln.cli.output import answer, say, told_done
from vmkiln.cli.template_options import JsonOption
from vmkiln.errors import InputError, TemplateInvalid

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from vmkiln.cli.commands.templates.template_schema import Member
    from vmkiln.cli.manual.error_codes import ErrorCode

ApiVersionOption = Annotated[str, typer.Option("--api-version", help="The api-version that the template is for.")]
NEAR = 0.6
TARGETS = ("managed", "gallery", "vhd")
NO_SUBSCRIPTION_ID = "00000000-0000-0000-0000-000000000000"


@examples("vmkiln schema --output template.schema.json")
def schema(
    api_version: ApiVersionOption = NEWEST_API_VERSION,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The file to write instead.")] = None,
) -> None:
    """Print the JSON Schema of an image template, with which an editor completes and checks one.

    In VS Code: `"json.schemas": [{"fileMatch": ["*.image.json"], "url": "./image-template.schema.json"}]`.
    """
    text = json.dumps(_schema_of(api_version), indent=2)
    if output is None:
        typer.echo(text)
        return
    from vmkiln.cli.written.target_file import check_target
    from vmkiln.files.durable_file import reported, write_whole

    check_target(output)
    with reported(f"writing {output}"):
        write_whole(output.absolute(), text.encode() + b"\n", mode=0o644)
    say(f"wrote {output}")


def _schema_of(api_version: str) -> dict[str, Any]:
    from vmkiln.cli.commands.templates.template_schema import template_schema
    from vmkiln.template.api_version import known_api_version

    try:
        return template_schema(known_api_version(api_version))
    except TemplateInvalid as error:  # there is no template
        text, hint = error.mistakes[0].message, error.mistakes[0].hint
        raise InputError(f"--api-version: {text}", hint=hint) from error


@examples("vmkiln explain properties.customize", "vmkiln explain ResourceNotFound")
def explain(
    what: Annotated[
        str, typer.Argument(metavar="FIELD|CODE", help="Such as properties.customize, or ResourceNotFound.")
    ] = "",
    codes: Annotated[bool, typer.Option("--codes", help="Explain every error code, as a page of Markdown.")] = False,
    api_version: ApiVersionOption = NEWEST_API_VERSION,
    as_json: JsonOption = False,
) -> None:
    """Explain a field of an image template, or an error code: what it is, what is allowed, what is the default."""
    from vmkiln.cli.manual.error_codes import error_codes, reference_page

    if codes:
        if as_json:
            answer([_told(one) for one in error_codes()])
        else:
            typer.echo(reference_page(), nl=False)
        return
    if not what.strip():
        raise InputError("FIELD|CODE: nothing is named", hint="such as properties.source, or --codes")
    told = _told_code(what) or _told_field(what, api_version)  # no field has the name of a code, and a code is cheaper
    if as_json:
        answer(told)
        return
    for name, value in told.items():
        if name == "about":  # sentences
            for sentence in value:
                typer.echo(f"{name}: {sentence}")
        elif value not in (None, [], ""):
            typer.echo(f"{name}: {', '.join(map(_word, value)) if isinstance(value, list) else _word(value)}")


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def told_member(whole: Mapping[str, Any], member: Member) -> dict[str, Any]:
    """What there is to say of a member of a template, of which `whole` is the schema; pure."""
    from vmkiln.cli.commands.templates.template_schema import concrete

    shapes = [one for shape in member.shapes for one in concrete(whole, shape)]
    said = [one["description"] for one in (*member.shapes, *shapes) if "description" in one]
    defaults = [shape["default"] for shape in member.shapes if "default" in shape]
    return {
        "field": member.path,
        "about": list(dict.fromkeys(" ".join(one.split()) for one in said)),
        "type": sorted({kind for shape in member.shapes for kind in _kinds(whole, shape)}),
        "required": member.is_required,
        "default": defaults[0] if defaults else None,
        "allowed": list(dict.fromkeys(value for one in shapes for value in _allowed(one))),
        "members": sorted({name for one in shapes for name in one.get("properties", {})}),
    }


def _kinds(whole: Mapping[str, Any], shape: Mapping[str, Any]) -> Iterator[str]:
    from vmkiln.cli.commands.templates.template_schema import EXPRESSION

    if "$ref" in shape:
        yield from _kinds(whole, whole["$defs"][shape["$ref"].rpartition("/")[2]])
    for choice in shape.get("anyOf") or shape.get("oneOf") or ():
        if choice != EXPRESSION:
            yield from _kinds(whole, choice)
    if "type" in shape:
        yield str(shape["type"])


def _allowed(shape: Mapping[str, Any]) -> Iterator[Any]:
    yield from shape.get("enum", ())
    if "const" in shape:
        yield shape["const"]
    if "minimum" in shape or "maximum" in shape:
        yield f"{shape.get('minimum', '')} to {shape.get('maximum', '')}".strip()


def _told_field(what: str, api_version: str) -> dict[str, Any]:
    """What a field of an image template is. Raises: `InputError` when there is none of that name."""
    from vmkiln.cli.commands.templates.template_schema import member_paths, members_at
    from vmkiln.cli.manual.error_codes import error_codes

    whole = _schema_of(api_version)
    if member := members_at(whole, what):
        return told_member(whole, member)
    from difflib import get_close_matches

    known = {name.lower(): name for name in (*member_paths(whole), *(one.code for one in error_codes()))}
    near = get_close_matches(what.lower(), [*known], n=3, cutoff=NEAR)
    hint = f"did you mean {', '.join(f'`{known[one]}`' for one in near)}?" if near else "such as properties.source"
    raise InputError(f"`{what}` is neither a field of an image template nor an error code", hint=hint)


def _told_code(code: str) -> dict[str, Any] | None:
    """What an error code means and what helps; None for one that is not known."""
    from vmkiln.cli.manual.error_codes import error_codes

    known = next((one for one in error_codes() if one.code.lower() == code.strip().lower()), None)
    return None if known is None else _told(known)


def _told(known: ErrorCode) -> dict[str, Any]:
    told = {"code": known.code, "about": [known.about], "whatToDo": known.cure, "exitCode": known.exit_code}
    return told if known.exit_code_of_run is None else {**told, "exitCodeOfRun": known.exit_code_of_run}


@examples(
    "vmkiln init",
    "vmkiln init template.json --platform-image Debian:debian-12:12-gen2 --inline 'apt-get install -y nginx'",
)
def init(
    file: Annotated[Path, typer.Argument(help="The template to write.")] = Path("template.json"),
    image: Annotated[
        str, typer.Option("--platform-image", metavar="PUBLISHER:OFFER:SKU[:VERSION]", help="What to start from.")
    ] = "",
    name: Annotated[str, typer.Option("--name", help="What the image is called.")] = "",
    inline: Annotated[
        list[str] | None, typer.Option("--inline", metavar="COMMAND", help="What to run; may be given more than once.")
    ] = None,
    target: Annotated[str, typer.Option("--target", help="managed, gallery or vhd: what is published.")] = "managed",
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file if it is there.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write an image template to begin with; on a terminal it asks for what the options leave out."""
    import sys

    from vmkiln.cli.written.target_file import as_typed, check_target
    from vmkiln.files.durable_file import reported, write_whole

    check_target(file)
    if file.exists() and not force:
        raise InputError(f"{file} is there already", hint="name another file, or --force overwrites it")
    if target not in TARGETS:
        raise InputError(f"--target: `{target}` is not allowed; allowed are {', '.join(TARGETS)}")
    asks = sys.stdin.isatty()
    image = image or (_asked("platform image", "Debian:debian-12:12") if asks else "Debian:debian-12:12")
    name = name or (_asked("name of the image", "my-image") if asks else "my-image")
    steps = inline or [_asked("command to run", "sudo apt-get update") if asks else "sudo apt-get update"]
    body = starting_template(image, name, steps, target)
    with reported(f"writing {file}"):
        write_whole(file.absolute(), json.dumps(body, indent=2).encode() + b"\n", mode=0o644)
    typed = as_typed(file)
    text = f"wrote {file}; `vmkiln validate {typed}` checks it, `vmkiln build {typed}` builds it"
    told_done(text, {"file": str(file), "template": body}, as_json=as_json)


def _asked(what: str, default: str) -> str:
    return str(typer.prompt(what, default=default, err=True))


def starting_template(image: str, name: str, steps: list[str], target: str) -> dict[str, Any]:
    """A template without a mistake; pure. Raises: `InputError` for what is no name of an image."""
    parts = image.split(":")
    if len(parts) not in {3, 4} or not all(parts):
        raise InputError(f"`{image}` is not PUBLISHER:OFFER:SKU[:VERSION]", hint="`vmkiln image catalogue` lists them")
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]{0,62}", name):
        raise InputError(f"`{name}` is not a name of an image", hint="1-63 letters, digits and `-_.`")
    group = f"/subscriptions/{NO_SUBSCRIPTION_ID}/resourceGroups/vmkiln/providers/Microsoft.Compute"
    targets: dict[str, dict[str, Any]] = {
        "managed": {"type": "ManagedImage", "imageId": f"{group}/images/{name}", "location": "westus2"},
        "gallery": {
            "type": "SharedImage",
            "galleryImageId": f"{group}/galleries/gallery/images/{name}",
            "targetRegions": [{"name": "westus2"}],
        },
        "vhd": {"type": "VHD"},
    }
    source = dict(zip(("publisher", "offer", "sku", "version"), [*parts, "latest"][:4], strict=True))
    return {
        "type": "Microsoft.VirtualMachineImages/imageTemplates",
        "apiVersion": NEWEST_API_VERSION,
        "name": name,
        "location": "westus2",
        "identity": {"type": "None"},
        "properties": {
            "source": {"type": "PlatformImage", **source},
            "customize": [{"type": "Shell", "name": "install", "inline": steps}],
            "distribute": [{**targets[target], "runOutputName": f"{name}-image"}],
        },
    }
