"""Built wheel: it has every file of the package, and its commands run in an empty folder."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.confirmed_search import write_confirmation
from tests.support.records import make_record, make_search

ROOT = Path(__file__).parents[1]


def run(*command: str | Path, folder: Path) -> str:
    """Run a command in a folder, without the variables of this checkout, and return its output."""
    names = ("PYTHONPATH", "LKCA_SEARCH_HOME", "LKCA_DATA_DIR")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    options = ("--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", folder)
    run(sys.executable, "-m", "pip", "wheel", *map(str, options), str(ROOT), folder=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the commands of a fresh environment with the wheel; the packages that it needs are those of this one."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", str(folder), folder=folder)
    python = folder / "bin" / "python"
    install = ("--python", str(python), "install", "--quiet", "--no-deps", "--no-index", str(wheel))
    run(sys.executable, "-m", "pip", *install, folder=folder)
    (packages,) = folder.glob("lib/python*/site-packages")
    needed = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    (packages / "needed.pth").write_text("\n".join(needed))  # they follow the folder with the wheel's own files
    return folder / "bin"


def test_the_wheel_has_every_file_of_the_package_and_no_other(wheel: Path) -> None:
    package = ROOT / "lkca_search"
    files = {path.relative_to(ROOT).as_posix() for path in package.rglob("*") if path.is_file()}
    with zipfile.ZipFile(wheel) as opened:
        packed = {name for name in opened.namelist() if ".dist-info/" not in name}
    assert packed == {name for name in files if "__pycache__" not in name}
    assert {Path(name).suffix for name in packed} >= {".py", ".html", ".css", ".js"}


@pytest.mark.slow
def test_the_commands_of_the_wheel_run_in_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    empty, command = tmp_path / "empty", installed / "lkca-search"
    empty.mkdir()
    where = run(installed / "python", "-c", "import lkca_search; print(lkca_search.__file__)", folder=empty)
    assert Path(where).is_relative_to(installed.parent)
    assert run(command, "--version", folder=empty) == "0.1.0\n"
    assert "question.yaml is written" in run(command, "init", "question.yaml", folder=empty)
    plan = run(command, "plan", "question.yaml", folder=empty)
    assert "family=lkca,data_fraction=0.1" in plan
    assert "lkca_depthwise" in run(command, "models", folder=empty)
    assert "the package is in no Git checkout" in run(command, "doctor", folder=empty)
    assert {path.name for path in empty.iterdir()} <= {"question.yaml", "lkca_runs"}


@pytest.mark.slow
def test_the_wheel_writes_a_report_with_its_own_page_styles_and_scripts(installed: Path, tmp_path: Path) -> None:
    records = [make_record(number, family=family) for family in ("lkca", "vit") for number in range(3)]
    made = make_search("made", records, "factors.data_fraction=[0.1]")
    write_confirmation(made)
    empty = tmp_path / "empty"
    shutil.copytree(str(made.root.parents[1]), empty / "lkca_runs")
    run(installed / "lkca-search", "report", "made", "--no-mlflow", folder=empty)
    page = (empty / "lkca_runs/searches/made/report/report.html").read_text()
    assets = ROOT / "lkca_search/reporting/rendering/page"
    assert (assets / "style.css").read_text().strip() in page
    assert (assets / "script.js").read_text().strip() in page
