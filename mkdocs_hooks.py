"""Hooks of MkDocs: pages outside docs/, and pages that are made from the code, join the site.

MkDocs loads this file from its own folder, so that the packages of the checkout can be imported.
"""

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

from documentation.command_line import command_line_page
from documentation.library import library_page
from documentation.mlflow_names import mlflow_page
from documentation.space_files import space_files_page
from documentation.tables import tables_page
from lkca_search.api.space_schema import schema_text

ROOT = Path(__file__).parent
_MADE = {
    "reference/command_line.md": command_line_page,
    "reference/space_file.md": space_files_page,
    "reference/python.md": library_page,
    "reference/tables.md": tables_page,
    "reference/mlflow.md": mlflow_page,
}
_OUTSIDE = {
    "ARCHITECTURE.md": "architecture.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "benchmarks/README.md": "benchmarks.md",
}
"""Pages outside docs/: path in the repository to path in the site."""
_FOLDERS = {"cluster": "clusters", "studies": "studies"}
"""Folder of the repository to folder of the site. The page `cluster` has that name already."""
_LINK = re.compile(r"\]\(([^)#:\s]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the made pages, the JSON Schema, and the pages outside docs/."""
    for name, make in _MADE.items():
        files.append(File.generated(config, name, content=make()))
    files.append(File.generated(config, "reference/space.schema.json", content=schema_text()))
    for path, name in _places().items():
        files.append(File.generated(config, name, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Point each link between files of the repository to the place of its target in the site."""
    name = page.file.src_uri
    places = _places()
    here = {place: path for path, place in places.items()}.get(name, f"docs/{name}")

    def link(found: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(here), found[1]))
        place = places.get(target, target.removeprefix("docs/") if target.startswith("docs/") else None)
        if place is None:
            return found[0]  # MkDocs reports it
        return f"]({posixpath.relpath(place, posixpath.dirname(name) or '.')}{found[2] or ''})"

    return _LINK.sub(link, markdown)


def _places() -> dict[str, str]:
    """Return the place in the site of each file outside docs/, by its path in the repository."""
    found = dict(_OUTSIDE)
    for folder, place in _FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                name = path.relative_to(ROOT).as_posix()
                found[name] = place + name.removeprefix(folder)
    return found
