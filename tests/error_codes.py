"""The error codes that the source can give, found in the source: whatever is handed to an error as its code.

A code is followed through names: of a module, of an import, of a parameter to the calls of its function. What is
passed on, such as the code of an error that was caught, is told apart.
"""

import ast
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef
PASSED_ON = "?"  # an expression that names no code


@dataclass
class Module:
    """A file, with the constants of it and what it imports."""

    path: Path
    tree: ast.Module
    constants: dict[str, ast.expr] = field(default_factory=dict)
    imported: dict[str, tuple[str, str]] = field(default_factory=dict)
    around: dict[ast.AST, ast.AST] = field(default_factory=dict)


class Source:
    """Every file of a package."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._found: dict[ast.expr, set[str]] = {}
        self._modules = {self._name(path): _read(path) for path in sorted(root.rglob("*.py"))}

    def _name(self, path: Path) -> str:
        return ".".join(path.relative_to(self._root.parent).with_suffix("").parts)

    @cached_property
    def _definitions(self) -> Counter[str]:
        walked = (node for module in self._modules.values() for node in ast.walk(module.tree))
        return Counter(node.name for node in walked if isinstance(node, FUNCTIONS))

    @cached_property
    def _calls(self) -> dict[str, list[tuple[Module, ast.Call]]]:
        found: dict[str, list[tuple[Module, ast.Call]]] = {}
        for module in self._modules.values():
            for node in ast.walk(module.tree):
                if isinstance(node, ast.Call):
                    found.setdefault(_called(node), []).append((module, node))
        return found

    def codes(self) -> dict[str, set[str]]:
        """Each code with the places that give it; under `PASSED_ON` the expressions that name none."""
        found: dict[str, set[str]] = {}
        for module in self._modules.values():
            for node in ast.walk(module.tree):
                for given in _given(node):
                    place = f"{module.path.relative_to(self._root)}: {ast.unparse(given)}"
                    for code in self._resolved(module, given):
                        found.setdefault(code, set()).add(place)
        return found

    def _resolved(self, module: Module, node: ast.expr) -> set[str]:
        """What an expression may be; one that is being looked at already adds nothing."""
        if node not in self._found:
            self._found[node] = set()
            self._found[node] = set(self._looked_at(module, node))
        return self._found[node]

    def _looked_at(self, module: Module, node: ast.expr) -> Iterator[str]:
        match node:
            case ast.Constant(value=str(code)):
                yield code
            case ast.IfExp(body=one, orelse=other):
                yield from self._resolved(module, one)
                yield from self._resolved(module, other)
            case ast.BoolOp(values=values):
                for value in values:
                    yield from self._resolved(module, value)
            case ast.Dict(values=values):
                for value in values:
                    yield from self._resolved(module, value)
            case ast.Subscript(value=inner) if isinstance(inner, ast.Name) and inner.id in module.constants:
                yield from self._resolved(module, inner)
            case ast.Call(func=ast.Attribute(value=ast.Name() as inner, attr="get"), args=[_, *rest]):
                yield from self._resolved(module, inner)
                for value in rest:
                    yield from self._resolved(module, value)
            case ast.Attribute(value=ast.Name(id=name), attr="code") if name[0].isupper():
                return  # of a class, which is looked at itself
            case ast.Name(id=name):
                yield from self._named(module, node, name)
            case _:
                yield PASSED_ON

    def _named(self, module: Module, node: ast.Name, name: str) -> Iterator[str]:
        function = _function_around(module, node)
        while function is not None:
            if name in (names := _parameters(function)):
                if name != "code" or self._definitions[function.name] > 1:
                    yield PASSED_ON
                    return
                yield from self._of_parameter(function, names.index(name), name)
                return
            if assigned := _assigned(function, name):
                for value in assigned:
                    yield from self._resolved(module, value)
                return
            function = _function_around(module, function)
        if name in module.constants:
            yield from self._resolved(module, module.constants[name])
        elif name in module.imported:
            origin, there = module.imported[name]
            other = self._modules.get(origin)
            if other is not None and there in other.constants:
                yield from self._resolved(other, other.constants[there])
            else:
                yield PASSED_ON
        else:
            yield PASSED_ON

    def _of_parameter(self, function: FUNCTIONS, index: int, name: str) -> Iterator[str]:
        if (default := _default(function, name)) is not None and default.value:  # type: ignore[attr-defined]
            yield str(default.value)  # type: ignore[attr-defined]
        for module, call in self._calls.get(function.name, []):
            given = [keyword.value for keyword in call.keywords if keyword.arg == name]
            offset = int(isinstance(call.func, ast.Attribute) and _parameters(function)[:1] == ["self"])
            if not given and index - offset < len(call.args):
                given = [call.args[index - offset]]
            for value in given:
                yield from self._resolved(module, value)


def _read(path: Path) -> Module:
    module = Module(path, ast.parse(path.read_text()))
    for node in ast.walk(module.tree):
        for child in ast.iter_child_nodes(node):
            module.around[child] = node
    for node in module.tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                module.constants[name] = value
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                module.constants[name] = value
            case ast.Assign(targets=[ast.Tuple(elts=names)], value=ast.Tuple(elts=values)):
                module.constants |= {
                    one.id: value for one, value in zip(names, values, strict=True) if isinstance(one, ast.Name)
                }
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                module.imported[alias.asname or alias.name] = (node.module, alias.name)
    return module


def _given(node: ast.AST) -> Iterator[ast.expr]:
    match node:
        case ast.Call():
            if _called(node) == "ArmError" and len(node.args) > 1:
                yield node.args[1]
            if _called(node) == "Unfit" and node.args:
                yield node.args[0]
            yield from (keyword.value for keyword in node.keywords if keyword.arg == "code")
        case ast.Dict(keys=keys, values=values):
            for key, value in zip(keys, values, strict=True):
                if isinstance(key, ast.Constant) and key.value == "code":
                    yield value
        case ast.ClassDef(body=body):
            for line in body:
                match line:
                    case ast.Assign(targets=[ast.Name(id="code")], value=value):
                        yield value
                    case ast.AnnAssign(target=ast.Name(id="code"), value=ast.Constant(value=str(text)) as value):
                        if text:
                            yield value


def _called(call: ast.Call) -> str:
    match call.func:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""


def _function_around(module: Module, node: ast.AST) -> FUNCTIONS | None:
    found = module.around.get(node)
    while found is not None and not isinstance(found, FUNCTIONS):
        found = module.around.get(found)
    return found


def _parameters(function: FUNCTIONS) -> list[str]:
    taken = function.args
    return [one.arg for one in (*taken.posonlyargs, *taken.args, *taken.kwonlyargs)]


def _default(function: FUNCTIONS, name: str) -> ast.Constant | None:
    taken = function.args
    placed = [*taken.posonlyargs, *taken.args]
    pairs = [
        *zip(reversed(placed), reversed(taken.defaults), strict=False),
        *zip(taken.kwonlyargs, taken.kw_defaults, strict=True),
    ]
    found = [value for one, value in pairs if one.arg == name]
    return found[0] if found and isinstance(found[0], ast.Constant) else None


def _assigned(function: FUNCTIONS, name: str) -> list[ast.expr]:
    found: list[ast.expr] = []
    for node in ast.walk(function):
        match node:
            case ast.Assign(targets=[ast.Name(id=there)], value=value) if there == name:
                found.append(value)
            case ast.Assign(targets=[ast.Tuple(elts=names)], value=ast.Tuple(elts=values)):
                for one, value in zip(names, values, strict=False):
                    if isinstance(one, ast.Name) and one.id == name:
                        found.append(value)
    return found
