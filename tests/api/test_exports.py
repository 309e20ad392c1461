"""Exported names of the package: each is documented, typed, and imported only when it is used."""

import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import lkca_search
from tests.support.architecture import type_checked_imports

PACKAGE = Path(lkca_search.__file__).parent
HEAVY = ("torch", "ray", "mlflow", "optuna", "pandas", "numpy", "pyarrow", "pydantic", "matplotlib")


def run_outside(code: str, folder: Path) -> str:
    """Run code in a new Python process in a folder outside the project; return what it prints."""
    command = [sys.executable, "-c", code]
    environment = {"PYTHONPATH": str(PACKAGE.parent), "PATH": "/usr/bin:/bin", "HOME": str(folder)}
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=folder, env=environment)
    return done.stdout.strip()


def test_the_exported_names_are_these() -> None:
    assert lkca_search.__all__ == [
        "DamageWarning",
        "DataError",
        "Interrupted",
        "Search",
        "SearchError",
        "SpaceFileError",
        "TrainedModel",
        "UserError",
        "WrittenReport",
        "__version__",
        "load_model",
        "load_search",
        "plan",
        "predict",
        "publish",
        "report",
        "run",
    ]


@pytest.mark.parametrize("name", [name for name in lkca_search.__all__ if name != "__version__"])
def test_each_exported_name_is_documented_and_annotated(name: str) -> None:
    exported = getattr(lkca_search, name)
    assert inspect.getdoc(exported)
    assert name in dir(lkca_search)
    assert exported.__module__.startswith("lkca_search.")
    if inspect.isfunction(exported):
        signature = inspect.signature(exported)
        assert signature.return_annotation is not inspect.Signature.empty
        assert all(parameter.annotation is not parameter.empty for parameter in signature.parameters.values())


def test_type_checkers_see_each_exported_name_in_the_module_that_defines_it() -> None:
    exports = {each.name for each in type_checked_imports((PACKAGE / "__init__.py").read_text())}
    defined = [name for name in lkca_search.__all__ if name != "__version__"]
    assert exports == {f"{getattr(lkca_search, name).__module__}.{name}" for name in defined}
    assert (PACKAGE / "py.typed").is_file()


def test_no_exported_name_is_hidden_by_a_module_of_this_name() -> None:
    modules = {path.stem for path in PACKAGE.iterdir() if path.is_dir() or path.suffix == ".py"}
    assert set(lkca_search.__all__) & modules == set()


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = lkca_search.nothing
    with pytest.raises(ImportError):
        importlib.import_module("lkca_search.nothing")


def test_the_import_loads_no_heavy_package(tmp_path: Path) -> None:
    code = f"import sys, lkca_search; dir(lkca_search); print(sorted({set(HEAVY)!r} & set(sys.modules)))"
    assert run_outside(code, tmp_path) == "[]"


def test_a_search_is_loaded_and_read_without_torch_ray_mlflow_and_optuna(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from lkca_search import load_search, run, plan, report, SearchError\n"
        "try:\n"
        "    load_search('nowhere').trials\n"
        "except SearchError as error:\n"
        "    print(error)\n"
        "print(sorted({'torch', 'ray', 'mlflow', 'optuna'} & set(sys.modules)))"
    )
    error, loaded = run_outside(code, tmp_path).splitlines()
    assert error == (
        f"there is no search 'nowhere' in {tmp_path}/lkca_runs; searches there: none; "
        "a `run` adds it after its checks; "
        "if it is in another home, go to the folder of its `run`, or set LKCA_SEARCH_HOME"
    )
    assert loaded == "[]"
