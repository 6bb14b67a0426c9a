"""Help, completion, lists and checks start at once: they import nothing that they do not need."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from vmkiln.cli.commands.runs.run_commands import RunCommands
from vmkiln.cli.commands.templates.template_commands import TemplateCommands
from vmkiln.cli.lazy_group import LazyGroup, first_line, loaded
from vmkiln.cli.main import Commands
from vmkiln.images.image_export import FORMATS
from vmkiln.settings import Settings
from vmkiln.store.database import opened

EXAMPLE = Path(__file__).parents[3] / "examples" / "hello-linux" / "template.json"
HEAVY = {
    "alembic", "asyncio", "azure", "cryptography", "dbos", "httpx", "jinja2", "jwt", "obstore", "opentelemetry",
    "prometheus_client", "psycopg", "pydantic", "pydantic_settings", "rich", "sqlalchemy", "starlette", "uvicorn",
}  # fmt: skip
NEEDED_TO_CHECK_TEMPLATES = {"asyncio", "pydantic"}

# for each line of standard input (environment and arguments) the exit code, the length of the output, what is imported
CALLS = """
import contextlib, io, json, os, sys
from vmkiln.cli.main import main
for line in sys.stdin:
    environment, arguments = json.loads(line)
    os.environ.update(environment)
    written = io.StringIO()
    with contextlib.redirect_stdout(written), contextlib.redirect_stderr(io.StringIO()):
        try:
            main(arguments)
        except SystemExit as ended:
            code = ended.code or 0
    for name in environment:
        del os.environ[name]
    imported = sorted({name.partition('.')[0] for name, module in sys.modules.items() if module is not None})
    print(json.dumps([code, len(written.getvalue()), imported]), flush=True)
"""


def all_words() -> list[list[str]]:
    """The words of every command, the ones below others included."""
    found: list[list[str]] = [[]]
    for name, listed in Commands.listed.items():
        found.append([name])
        found += [[name, below] for below in getattr(loaded(name, listed), "commands", {})]
    return found


def called(calls: list[tuple[dict[str, str], list[str]]], home: Path) -> list[tuple[int, int, set[str]]]:
    """What each call gave, one after the other in a process of its own."""
    environment = {"HOME": str(home), "VMKILN_HOME": str(home), "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
    given = "".join(json.dumps(call) + "\n" for call in calls)
    done = subprocess.run(
        [sys.executable, "-c", CALLS], input=given, env=environment, capture_output=True, text=True, check=True
    )
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == len(calls)
    return [(code, length, set(imported)) for code, length, imported in found]


def test_the_help_of_every_command_and_the_version_import_nothing_heavy(tmp_path: Path) -> None:
    words = all_words()
    assert len(words) > 55
    calls: list[Any] = [({}, ["--version"]), *(({}, [*each, "--help"]) for each in words)]
    for (_, arguments), (code, length, imported) in zip(calls, called(calls, tmp_path), strict=True):
        assert (code, length > 10) == (0, True), arguments
        assert imported & HEAVY == set(), arguments


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_imports_nothing_heavy(tmp_path: Path, shell: str) -> None:
    lines = [
        "vmkiln ",
        *(" ".join(["vmkiln", *words, ""]) for words in all_words()),
        "vmkiln build --p",
        "vmkiln run l",
    ]
    calls: list[Any] = []
    for line in lines:
        count = str(len(line.split(" ")) - 1)
        environment = {"COMP_WORDS": line, "COMP_CWORD": count, "_TYPER_COMPLETE_ARGS": line}
        environment |= {"_VMKILN_COMPLETE": f"complete_{shell}", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
        calls.append((environment, []))
    found = called(calls, tmp_path)
    for line, (code, _, imported) in zip(lines, found, strict=True):
        assert code == 0, line
        assert imported & HEAVY == set(), line
    assert all(length > 3 for _, length, _ in (found[0], found[-1], found[-2]))


def test_validate_and_the_list_of_runs_import_little(tmp_path: Path) -> None:
    with opened(Settings(tmp_path).database):
        pass
    calls: list[Any] = [({}, ["run", "list"]), ({}, ["validate", str(EXAMPLE)])]
    [listing, validation] = called(calls, tmp_path)
    assert (listing[0], validation[0]) == (0, 0)
    assert validation[1] > 10
    for _, _, imported in (listing, validation):
        assert imported & HEAVY <= NEEDED_TO_CHECK_TEMPLATES


def test_an_error_code_is_explained_without_the_schema_of_templates(tmp_path: Path) -> None:
    """It took longer than all other short commands: each error is a class that stands where it is raised."""
    program = """
import sys
from vmkiln.cli import main
try:
    main.main(["explain", "resourcenotfound"])
except SystemExit as ended:
    late = {"vmkiln.template.image_template", "vmkiln.buildable", "vmkiln.provisioning", "vmkiln.cli.arm_client"}
    print(ended.code or 0, sorted(late & sys.modules.keys()))
"""
    environment = {"HOME": str(tmp_path), "VMKILN_HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 []"


def test_a_resource_is_checked_without_the_language_of_deployments(tmp_path: Path) -> None:
    program = """
import sys
from vmkiln.cli import main
try:
    main.main(["validate", sys.argv[1]])
except SystemExit as ended:
    late = {"vmkiln.arm_template.evaluation", "vmkiln.staging.user_network", "yaml", "vmkiln.sealing.key_ring"}
    print(ended.code or 0, sorted(late & sys.modules.keys()))
"""
    environment = {"HOME": str(tmp_path), "VMKILN_HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
    command = [sys.executable, "-c", program, str(EXAMPLE)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 []"


def test_validate_reads_of_the_catalogue_what_names_its_publisher(tmp_path: Path) -> None:
    program = """
import sys
from vmkiln.cli import main
from vmkiln.platform_images import catalogue
try:
    main.main(["validate", sys.argv[1]])
except SystemExit as ended:
    print(ended.code or 0, catalogue._parsed.cache_info().misses == len(catalogue.built_in("Debian")))
    print(len(catalogue.built_in("Debian")) < len(catalogue.built_in()))
"""
    environment = {"HOME": str(tmp_path), "VMKILN_HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
    command = [sys.executable, "-c", program, str(EXAMPLE)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-2:] == ["0 True", "True"]


def test_settings_are_read_and_secrets_known_without_what_that_rarely_takes(tmp_path: Path) -> None:
    """A state directory, texts and paths need no checker, and no pattern is compiled before something is shown."""
    program = """
import sys
from vmkiln.secrecy import key_shapes, secret_shapes
from vmkiln.settings_sources import read_settings
from vmkiln.shown_settings import secrets_of
assert secrets_of(read_settings()) == {"postgresql://u:word@db/v", "word"}
late = [secret_shapes._TOKENS, *(shape.pattern for shape in key_shapes.SHAPES)]
print("pydantic" in sys.modules, any("_compiled" in vars(one) for one in late))
"""
    environment = {"VMKILN_HOME": str(tmp_path), "VMKILN_REGION": "west", "VMKILN_TLS_CERT": "/c"}
    environment |= {"VMKILN_TLS_KEY": "/k", "VMKILN_DATABASE_URL": "postgresql://u:word@db/v"}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_what_lasts_looks_for_garbage_as_often_as_usual(tmp_path: Path) -> None:
    program = """
import gc, sys
usual = gc.get_threshold()
from vmkiln.cli import main, interrupts
async def lasting():
    return gc.get_threshold()
try:
    main.main(["--version"])
except SystemExit:
    print(gc.get_threshold()[0] > usual[0], interrupts.run_to_end(lasting()) == usual)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "True True"


def test_no_plugin_of_another_package_is_looked_for(tmp_path: Path) -> None:
    """Pydantic would read the names of all that is installed, for each command, and import what calls itself one."""
    program = """
import os
from vmkiln.cli import main
from pydantic.plugin import _loader
print(os.environ["PYDANTIC_DISABLE_PLUGINS"], list(_loader.get_plugins()))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["__all__", "[]"]


@pytest.mark.parametrize("name", Commands.listed)
def test_a_command_is_listed_with_the_first_line_of_its_help(name: str) -> None:
    listed = Commands.listed[name]
    assert first_line(loaded(name, listed).help) == listed.text


@pytest.mark.parametrize(
    ("group", "name"), [(group, name) for group in (RunCommands, TemplateCommands) for name in group.listed]
)
def test_a_command_below_another_is_listed_so_too(group: type[LazyGroup], name: str) -> None:
    listed = group.listed[name]
    assert first_line(loaded(name, listed).help) == listed.text


@pytest.mark.parametrize(
    ("words", "alone"),
    [
        (["run", "list"], {"vmkiln.cli.commands.runs.run_logs", "vmkiln.cli.commands.runs.acting"}),
        (["template"], {"vmkiln.cli.commands.templates.template", "vmkiln.cli.commands.templates.following"}),
    ],
)
def test_help_imports_no_command_beside_the_one_asked_for(words: list[str], alone: set[str], tmp_path: Path) -> None:
    program = f"""
import sys
from vmkiln.cli import main
try:
    main.main([*{words!r}, "--help"])
except SystemExit as ended:
    print(ended.code or 0, sorted({alone!r} & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 []"


def test_a_command_of_runs_is_called_as_it_is_listed(tmp_path: Path) -> None:
    calls: list[Any] = [({}, ["run", "list"]), ({}, ["run", "nope"]), ({}, ["run", "shell", "0123abcd", "ls", "-l"])]
    assert [code for code, _, _ in called(calls, tmp_path)] == [0, 2, 2]


def test_the_help_of_export_names_every_format() -> None:
    [option] = [
        one for one in loaded("image", Commands.listed["image"]).commands["export"].params if "format" in one.name
    ]
    assert all(name in option.help for name in FORMATS)


def test_a_heavy_import_is_noticed(tmp_path: Path) -> None:
    [(code, _, imported)] = called([({}, ["host", "list"])], tmp_path)
    assert code == 0
    assert "sqlalchemy" in imported
