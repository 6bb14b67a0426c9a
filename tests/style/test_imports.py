"""Imports point one way: from the doors down to the errors."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "vmkiln"
LAYERS = [  # a module may import a lower line, or its own package
    {"cli"},
    {"serving", "listener"},
    {"tracing"},
    {"service"},
    {"api", "portal"},
    {"run"},
    {"staging", "packer", "images"},
    {"template", "host", "store"},
    {"settings"},
    {"locks"},
    {"durable_file", "secret_mask", "harmless_text", "private_folder"},
    {"errors"},
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
ONLY_HERE = {
    "alembic": {"store"},
    "dbos": {"run/durable_attempts.py"},
    "obstore": {"store/object_store.py"},
    "prometheus_client": {"api"},
    "psycopg": {"store"},
    "subprocess": {"host/command.py"},
    "sqlite3": {"store"},
    "sqlalchemy": {"store"},
    "rich": {"cli"},
    "jinja2": {"portal"},
    "opentelemetry": {"tracing.py"},
    "starlette": {"api", "portal", "listener.py", "serving.py"},
    "typer": {"cli"},
    "uvicorn": {"listener.py"},
}
MODULES = [path for path in sorted(ROOT.rglob("*.py")) if path.stem not in {"__init__", "__main__"}]


def imported_by(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: write imports in full"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path: Path) -> None:
    where = path.relative_to(ROOT)
    here = where.parts[0].removesuffix(".py")
    for name in imported_by(path):
        package, _, rest = name.partition(".")
        if package == ROOT.name:
            there = rest.split(".")[0]
            assert there == here or RANK[there] > RANK[here], f"{where} must not import {name}"
        elif package in ONLY_HERE:
            allowed = ONLY_HERE[package]
            assert str(where) in allowed or here in allowed, f"only {sorted(allowed)} may import {package}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_stay_under_400_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400
