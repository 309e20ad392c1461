"""Rules of the package's architecture, each a function from sources to the violations that it finds."""

import ast
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

PACKAGE = "lkca_search"
ROOT = "(root)"
"""Rung of the modules that lie directly in the package."""

MAX_FOLDER_MODULES = 12
MIN_FILE_LINES, MIN_IMPORTERS = 25, 4
"""Minimum length of a file, unless at least `MIN_IMPORTERS` others import it."""
MAX_FILE_LINES = 300
MAX_FUNCTION_LINES = 60
MAX_FUNCTION_LINES_IN = {"training/loop.py": 80}
ENTRY_POINTS = {"__main__.py", "search/jobs/remote_command.py", "search/worker_imports.py"}
"""Modules that Python runs and no module imports."""

Sources = Mapping[str, str]
"""Path below the package to source text."""


class Import(NamedTuple):
    """One imported name, in full, and the line that imports it."""

    line: int
    name: str


def read_sources(package: Path) -> dict[str, str]:
    """Return the source of every module below a folder."""
    return {path.relative_to(package).as_posix(): path.read_text() for path in sorted(package.rglob("*.py"))}


def imports(source: str) -> Iterator[Import]:
    """Yield everything that a source imports, also inside functions and conditions."""
    yield from imports_of(ast.parse(source))


def imports_of(tree: ast.AST) -> Iterator[Import]:
    """Yield everything that is imported in a part of a source."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (Import(node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield from (Import(node.lineno, f"{module}.{alias.name}") for alias in node.names)


def type_checked_imports(source: str) -> Iterator[Import]:
    """Yield the imports of a source that only type checkers read."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.If) and _name(node.test) == "TYPE_CHECKING":
            yield from imports_of(node)


def folder_of(path: str) -> str:
    """Return the folder of a module, "" for the package's own."""
    return path.rpartition("/")[0]


def rung_of(path: str, ladder: Mapping[str, object]) -> str:
    """Return the rung of a module: the module itself if the ladder names it, else its folder."""
    if path == "__main__.py":
        return "cli"
    return path if path in ladder else folder_of(path) or ROOT


def import_graph(sources: Sources) -> dict[str, dict[str, Import]]:
    """Return the modules that each module imports, with the import of each.

    The names that the package exports for type checkers are left out: it imports them when they are used.
    """
    paths = {_dotted(path): path for path in sources}
    graph: dict[str, dict[str, Import]] = {path: {} for path in sources}
    for path, source in sources.items():
        exports = set(type_checked_imports(source)) if path == "__init__.py" else set()
        for each in imports(source):
            if each in exports:
                continue
            imported = paths.get(each.name) or paths.get(each.name.rpartition(".")[0])
            if imported and imported != path:
                graph[path].setdefault(imported, each)
    return graph


def upward_imports(sources: Sources, ladder: Mapping[str, list[str]]) -> Iterator[str]:
    """Yield imports of a rung that the ladder does not allow, relative imports, and folders without a rung."""
    for path, imported in import_graph(sources).items():
        rung = rung_of(path, ladder)
        if rung not in ladder:
            yield f"{path}: folder {rung} is missing in the ladder"
            continue
        for other, (line, name) in imported.items():
            other_rung = rung_of(other, ladder)
            if other_rung != rung and not {other_rung, folder_of(other)} & set(ladder[rung]):
                yield f"{path}:{line}: {rung} may not import {other_rung} ({name})"
        yield from (
            f"{path}:{line}: import must be absolute ({name})"
            for line, name in imports(sources[path])
            if name.startswith(".")
        )


def homeless_packages(sources: Sources, homes: Mapping[str, list[str]]) -> Iterator[str]:
    """Yield imports of third-party packages outside the files and folders that the table lists for them."""
    for path, source in sources.items():
        for line, name in imports(source):
            package = name.partition(".")[0]
            if not package or package == PACKAGE or package in sys.stdlib_module_names:
                continue
            allowed = homes.get(package, [])
            if path not in allowed and (folder_of(path) or ROOT) not in allowed:
                yield f"{path}:{line}: {package} may be imported in {', '.join(allowed) or 'no folder'} ({name})"


def cycle(sources: Sources) -> list[str]:
    """Return modules that import each other in a cycle, or an empty list."""
    graph = import_graph(sources)
    return _cycle({path: set(imported) for path, imported in graph.items()})


def rung_cycle(sources: Sources, ladder: Mapping[str, object]) -> list[str]:
    """Return rungs that import each other in a cycle, or an empty list."""
    graph: dict[str, set[str]] = {}
    for path, imported in import_graph(sources).items():
        rung = rung_of(path, ladder)
        graph.setdefault(rung, set()).update({rung_of(other, ladder) for other in imported} - {rung})
    return _cycle(graph)


def wrong_sizes(sources: Sources) -> Iterator[str]:
    """Yield folders with too many modules, files that are too long or too short, and functions that are too long."""
    modules = [path for path in sources if not path.endswith("__init__.py")]
    for folder, count in Counter(map(folder_of, modules)).items():
        if count > MAX_FOLDER_MODULES:
            yield f"{folder or ROOT}: {count} modules, at most {MAX_FOLDER_MODULES}"
    importers = Counter(other for imported in import_graph(sources).values() for other in imported)
    for path, source in sources.items():
        num_lines = len(source.splitlines())
        if num_lines > MAX_FILE_LINES:
            yield f"{path}: {num_lines} lines, at most {MAX_FILE_LINES}"
        if (
            num_lines < MIN_FILE_LINES
            and path in modules
            and path not in ENTRY_POINTS
            and importers[path] < MIN_IMPORTERS
        ):
            yield f"{path}: {num_lines} lines, at least {MIN_FILE_LINES} for a file that {importers[path]} import"
        limit = MAX_FUNCTION_LINES_IN.get(path, MAX_FUNCTION_LINES)
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno is not None
                if (length := node.end_lineno - node.lineno + 1) > limit:
                    yield f"{path}:{node.lineno}: {node.name} has {length} lines, at most {limit}"


def undocumented_folders(sources: Sources) -> Iterator[str]:
    """Yield folders whose `__init__.py` is missing, is more than a docstring, or has no docstring of one paragraph."""
    for folder in sorted({folder_of(path) for path in sources}):
        path = f"{folder}/__init__.py".lstrip("/")
        if path not in sources:
            yield f"{path} is missing"
            continue
        tree = ast.parse(sources[path])
        docstring = ast.get_docstring(tree)
        if not docstring or "\n\n" in docstring:
            yield f"{path}: docstring must be one paragraph"
        if folder and len(tree.body) > 1:
            yield f"{path}: must hold a docstring and nothing else"


def private_names(sources: Sources, exempt: frozenset[str]) -> Iterator[str]:
    """Yield private names of other modules that a test imports, reads or replaces.

    A name is the test's own if its module defines it. NamedTuple's `_fields` and its like are public.
    """
    for path, source in sources.items():
        tree = ast.parse(source)
        own = _defined_names(tree) | exempt
        for node in ast.walk(tree):
            found: list[str] = []
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in (
                PACKAGE,
                "tests",
                "benchmarks",
            ):
                found = [alias.name for alias in node.names]
            elif isinstance(node, ast.Attribute) and not (
                isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
            ):
                found = [node.attr]
            elif isinstance(node, ast.Call) and _name(node.func) in ("setattr", "getattr", "delattr", "object"):
                strings = [
                    each.value for each in node.args if isinstance(each, ast.Constant) and isinstance(each.value, str)
                ]
                found = [string.rpartition(".")[2] for string in strings]
            yield from (f"{path}:{node.lineno}: {name}" for name in found if _is_private(name) and name not in own)  # type: ignore[attr-defined]


def _defined_names(tree: ast.Module) -> set[str]:
    """Return the names that a module defines, and the attributes that its classes set on `self`."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and _name(node.value) == "self":
            names.add(node.attr)
    return names


def _is_private(name: str) -> bool:
    return name.startswith("_") and not (name.startswith("__") and name.endswith("__"))


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _cycle(graph: Mapping[str, set[str]]) -> list[str]:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def _dotted(path: str) -> str:
    return ".".join((PACKAGE, *path.removesuffix(".py").removesuffix("__init__").rstrip("/").split("/"))).rstrip(".")
