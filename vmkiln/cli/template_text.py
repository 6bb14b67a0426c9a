"""The text of a template file, whatever it was written with: JSON in UTF-8 or UTF-16, YAML, Bicep.

What is none of these is named as what it is, with what to do. Bicep is compiled by `cli/bicep.py`.
"""

from __future__ import annotations

import codecs
import difflib
import itertools
import re
import sys
from pathlib import Path

from vmkiln.errors import InputError

MOST_BYTES = 16 * 1024**2
MOST_NAMES = 1000  # of a folder that are looked at for one that was meant
NEAR = 0.8  # of 1, how alike the names are of a file that is not there and of the one that was meant
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
SAVE_HINT = "save it as UTF-8 (PowerShell: `Out-File -Encoding utf8`)"
BICEP, BICEP_PARAMETERS, YAML = (".bicep",), (".bicepparam",), (".yaml", ".yml")
PACKER = "it says nothing that Azure's image templates say: write one, `vmkiln init` begins it"
_OTHERS: dict[tuple[str, ...], tuple[str, str]] = {
    (".pkr.hcl", ".pkrvars.hcl"): ("a template of Packer", PACKER),
    (".tf", ".tfvars", ".hcl"): (
        "Terraform",
        "apply it to `vmkiln serve` with the azapi or azurerm provider, or give the template's body as JSON",
    ),
    (".sh", ".ps1", ".py", ".cmd", ".bat"): ("a script", "a template names scripts in `customize`; give the template"),
    (".zip", ".gz", ".tgz", ".tar", ".7z"): ("an archive", "unpack it and give the template in it"),
    (".md", ".txt", ".rst", ".html", ".htm"): ("a text to read", "give the template's JSON"),
    (".vhd", ".vhdx", ".qcow2", ".img", ".iso", ".raw"): ("a disk", "`vmkiln image` imports and exports images"),
    (".xml",): ("XML", "give the template's JSON"),
}
_BICEP_WORDS = re.compile(
    r"(?m)^[^\S\n]*(?:@description\(|targetScope\s*=|param\s+\w+\s+\w+|resource\s+\w+\s+'|module\s+\w+\s+')"
)
_BICEPPARAM_WORDS = re.compile(r"(?m)^[^\S\n]*using\s+(?:'|none)")
_TERRAFORM_WORDS = re.compile(r'(?m)^[^\S\n]*(?:terraform\s*\{|(?:resource|data|provider|variable|module)\s+"[^"]+")')


def read_text(path: Path) -> str:
    """The text of a file, or of standard input for `-`. Raises: `InputError`."""
    shown = "standard input" if str(path) == "-" else str(path)
    try:
        if str(path) == "-":
            raw = sys.stdin.buffer.read(MOST_BYTES + 1) if hasattr(sys.stdin, "buffer") else sys.stdin.read().encode()
        else:
            with path.open("rb") as file:
                raw = file.read(MOST_BYTES + 1)
    except FileNotFoundError as error:
        raise InputError(f"there is no file {path}", hint=_meant(path)) from error
    except IsADirectoryError as error:
        raise InputError(f"{path} is a folder", hint="name a file in it") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    if len(raw) > MOST_BYTES:
        raise InputError(f"{shown} is larger than {MOST_BYTES // 1024**2} MiB, too large for a template")
    return decoded(raw, shown)


def _meant(path: Path) -> str | None:
    """The file beside it whose name is hardly another than that of one that is not there.

    Names are compared without their endings: `.json` in both says nothing.
    """
    try:
        names = [entry.name for entry in itertools.islice(path.parent.iterdir(), MOST_NAMES) if entry.is_file()]
    except OSError:
        return f"there is no folder {path.parent}" if not path.parent.exists() else None
    stems = {Path(name).stem.lower(): name for name in names}
    near = difflib.get_close_matches(path.stem.lower(), stems, n=1, cutoff=NEAR)
    return f"did you mean {path.with_name(stems[near[0]])}?" if near else None


def decoded(raw: bytes, name: str) -> str:
    """Bytes as text: UTF-8, or what their byte order mark says; pure. Raises: `InputError`."""
    coding = next((coding for mark, coding in _MARKS if raw.startswith(mark)), "utf-8")
    try:
        text = raw.decode(coding)
    except UnicodeDecodeError as error:
        if b"\0" in raw and coding == "utf-8":
            raise InputError(f"{name} is not a text", hint="give the template's JSON, YAML or Bicep file") from error
        line = raw[: error.start].count(b"\n") + 1
        raise InputError(f"{name} is not UTF-8 text: line {line}", hint=SAVE_HINT) from error
    if "\0" in text:
        looks_wide = raw[1::2].count(0) > len(raw) // 4 or raw[::2].count(0) > len(raw) // 4
        hint = f"it looks like UTF-16 without a byte order mark; {SAVE_HINT}" if looks_wide else SAVE_HINT
        raise InputError(f"{name} is not UTF-8 text: it holds zero bytes", hint=hint)
    return text


def kind_of(path: Path, text: str) -> str:
    """What a template file is written in: `json`, `yaml`, `bicep` or `bicepparam`; by its name, else by its text; pure.

    Raises: `InputError` for what is none of these.
    """
    suffix = path.suffix.lower()
    for suffixes, kind in ((BICEP, "bicep"), (BICEP_PARAMETERS, "bicepparam"), (YAML, "yaml")):
        if suffix in suffixes:
            return kind
    begins = text.lstrip("\ufeff \t\r\n")[:1]
    if begins in ("{", "[") or suffix == ".json":
        return "json"
    for others, (what, hint) in _OTHERS.items():
        if suffix in others or path.name.lower().endswith(others):
            raise InputError(f"{path} is {what}, not a template", hint=hint)
    if _BICEPPARAM_WORDS.search(text):
        return "bicepparam"
    if _BICEP_WORDS.search(text):
        return "bicep"
    if _TERRAFORM_WORDS.search(text):
        what, hint = _OTHERS[(".tf", ".tfvars", ".hcl")]
        raise InputError(f"{path} is {what}, not a template", hint=hint)
    if text.startswith("#!"):
        raise InputError(f"{path} is a script, not a template", hint="a template names scripts in `customize`")
    if begins == "<" and not re.match(r"<[\w .-]+>\s*[:,\]}]", text.lstrip()):
        raise InputError(f"{path} is XML or HTML, not a template", hint="give the template's JSON")
    from vmkiln.arm_template.yaml_text import is_yaml

    return "yaml" if is_yaml(text) else "json"
