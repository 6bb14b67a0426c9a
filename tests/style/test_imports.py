"""Imports point one way: from the doors down to the errors."""

import ast
from collections.abc import Mapping
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "vmkiln"
LAYERS = [  # a module may import a lower line, or its own package
    {"cli"},
    {"service", "listener"},
    {"listening"},
    {"tracing"},
    {"preparation"},
    {"api", "portal"},
    {"fleet"},
    {"notice"},
    {"provisioning"},
    {"blobs", "rights"},
    {"run"},
    {"buildable", "receipts"},
    {"sharing"},
    {"platform_images"},
    {"inspecting", "visiting", "warm"},
    {"image_contents"},
    {"staging", "packer", "images"},
    {"windows"},
    {"template"},
    {"trial"},
    {"provenance"},
    {"audit"},
    {"fetching"},
    {"arm_template", "host", "store"},
    {"settings_sources", "shown_settings", "process_log"},
    {"settings"},
    {"shells"},
    {"lifetime"},
    {"waiting"},
    {"sealing"},
    {"files"},
    {"setting_texts"},
    {"azure_locations", "azure_names", "azure_roles", "run_state"},
    {"secrecy"},
    {"run_failures"},
    {"errors", "__version__"},
    {"harmless_text"},
]
LAYERS_OF_API = [  # the rooms of api/: the protocol below, one room for each Azure provider above
    {"resource_types"},
    {"builds", "whole_groups"},  # the service, or a resource group, as a whole
    {"resources"},
    {"virtual_machine_images"},
    {"authorization", "compute", "entra", "insights", "network", "storage"},
    {"managed_identity", "staging"},
    {"about"},  # what the service tells of itself
    {"protocol"},
    {"identity", "shells"},
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
RANK_IN_API = {name: rank for rank, names in enumerate(LAYERS_OF_API) for name in names}
ONLY_HERE = {
    "ahocorasick": {"secrecy"},
    "alembic": {"store"},
    "cyclonedx": {"image_contents/bill_of_materials.py"},
    "packageurl": {"image_contents/bill_of_materials.py"},
    "fcntl": {"files/locks.py"},
    "httpcore": {"fetching/transport.py"},
    "dbos": {"fleet/durable_attempts.py"},
    "obstore": {"sharing/object_store.py"},
    "prometheus_client": {"api"},
    "psycopg": {"store"},
    "subprocess": {"host/command.py"},
    "smtplib": {"notice/mail.py"},
    "sqlite3": {"store", "cli/run_list.py", "buildable/kept_images.py"},
    "sqlalchemy": {"store"},
    "rich": {"cli"},
    "jinja2": {"portal"},
    "opentelemetry": {"tracing.py"},
    "starlette": {"api", "portal", "listener.py", "service.py"},
    "typer": {"cli"},
    "uvicorn": {"listener.py", "listening"},
    "yaml": {"arm_template/yaml_text.py"},
}
MOST_FILES = 16  # in a folder; more, and it has two errands
REVISIONS = ROOT / "store/migrations/versions"  # of which there is one more with each change of the schema
MODULES = [path for path in sorted(ROOT.rglob("*.py")) if path.stem not in {"__init__", "__main__"}]


@cache
def imported_by(path: Path) -> frozenset[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: write imports in full"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(found)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path: Path) -> None:
    where = path.relative_to(ROOT)
    here = where.parts[0].removesuffix(".py")
    for name in imported_by(path):
        package, _, rest = name.partition(".")
        if package == ROOT.name:
            there = rest.split(".")[0]
            assert there == here or RANK[there] > RANK[here], f"{where} must not import {name}"
            if here == there == "api":
                room, other = where.parts[1].removesuffix(".py"), rest.split(".")[1]
                assert room == other or RANK_IN_API[other] > RANK_IN_API[room], f"{where} must not import {name}"
        elif package in ONLY_HERE:
            allowed = ONLY_HERE[package]
            assert str(where) in allowed or here in allowed, f"only {sorted(allowed)} may import {package}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_stay_under_400_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400


@pytest.mark.parametrize(
    "folder", sorted({path.parent for path in MODULES} - {REVISIONS}), ids=lambda path: str(path.relative_to(ROOT))
)
def test_a_folder_has_one_errand(folder: Path) -> None:
    assert len([path for path in folder.glob("*.py") if path.stem != "__init__"]) <= MOST_FILES


def test_no_two_modules_import_each_other() -> None:
    below = {name_of(path): {name for name in imported_by(path) if name.startswith(ROOT.name)} for path in MODULES}
    edges = {module: {known(name, below) for name in names} - {module, ""} for module, names in below.items()}
    graph = TopologicalSorter(edges)
    graph.prepare()  # raises CycleError with the modules of a circle


def test_each_unit_test_lies_where_its_module_does() -> None:
    """`tests/unit/` mirrors the package: what tries `run/workflow.py` is in `tests/unit/run/`."""
    folders = {path.parent.relative_to(ROOT) for path in MODULES}
    tests = (ROOT.parent / "tests/unit").rglob("test_*.py")
    lost = {path for path in tests if path.parent.relative_to(ROOT.parent / "tests/unit") not in folders}
    assert not lost


def name_of(path: Path) -> str:
    return ".".join((ROOT.name, *path.relative_to(ROOT).with_suffix("").parts))


def known(name: str, modules: Mapping[str, object]) -> str:
    """The module that an imported name is, or comes from; '' for a package."""
    return name if name in modules else name.rpartition(".")[0] if name.rpartition(".")[0] in modules else ""
