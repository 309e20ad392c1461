"""The notebook of the docs: it has no stored outputs, and runs from a search to a plot in a new kernel."""

import json
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from lkca_search import load_search

NOTEBOOK = Path(__file__).parents[2] / "docs" / "notebooks" / "search_to_plot.ipynb"


def outputs(cells: list[Any], kind: str) -> list[Any]:
    """Return every output of a MIME type."""
    found = [output.get("data", {}) for cell in cells if cell["cell_type"] == "code" for output in cell["outputs"]]
    return [data[kind] for data in found if kind in data]


def test_notebooks_have_no_stored_outputs() -> None:
    for path in NOTEBOOK.parent.glob("*.ipynb"):
        cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
        assert [cell["outputs"] for cell in cells] == [[] for _ in cells], path.name
        assert {cell["execution_count"] for cell in cells} == {None}, path.name


@pytest.mark.slow
def test_the_notebook_goes_from_a_search_to_a_plot(tmp_path: Path) -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=500, resources={"metadata": {"path": str(tmp_path)}}).execute()
    (figure,) = outputs(notebook.cells, "image/png")
    assert len(figure) > 10_000
    tables = outputs(notebook.cells, "text/html")
    assert all(column in "".join(tables) for column in ("learning_rate", "mean", "probability"))
    search = load_search("tiny")
    assert (len(search.trials), len(search.replicates), len(search.cells)) == (8, 8, 4)
    assert (Path(str(search.folder.root)) / "report" / "report.html").is_file()
