"""Pictures of README and the site, taken by a browser from the report and MLflow's page of the quickstart.

    make pictures                                     # runs the quickstart if it is not finished, then all pictures
    python -m documentation.pictures report.png       # one picture, of the search in LKCA_SEARCH_HOME

It needs playwright, which is a development dependency, and a Chromium.
"""

import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.error import URLError

from playwright.sync_api import Page, sync_playwright

SEARCH = "quickstart"
FOLDER = Path(__file__).parents[1] / "docs"
_WIDTH, _HEIGHT = 1280, 800
_MLFLOW_WIDTH = 1440
_COMMAND = [sys.executable, "-m", "lkca_search"]
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_SECONDS_TO_START = 180
_LOADED_MS, _DRAWN_MS = 120_000, 4_000
"""Longest wait for MLflow's page, which loads many files, and the wait for its charts, which show no end."""

_FIRST_VISIT = ("Close", "Hide banner")
"""Buttons of what MLflow shows on a first visit: its assistant, and the note that a view is shared."""


@contextmanager
def open_page(width: int = _WIDTH, height: int = _HEIGHT) -> Iterator[Page]:
    """Yield a page of a browser, on the light theme."""
    executable = next(filter(None, map(shutil.which, _BROWSERS)), None)
    with sync_playwright() as running:
        browser = running.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield browser.new_page(viewport={"width": width, "height": height}, color_scheme="light")
        browser.close()


def take_report(path: Path) -> None:
    """Write the first screen of the report of the search, up to the end of its answer."""
    with TemporaryDirectory() as folder, open_page() as page:
        command = [*_COMMAND, "report", SEARCH, "--no-mlflow", "--to", folder]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        page.goto((Path(folder) / "report.html").as_uri())
        page.wait_for_selector("#answer-figure .main-svg")
        box = page.locator("#answer").bounding_box()
        assert box is not None
        page.screenshot(path=path, clip={"x": 0, "y": 0, "width": _WIDTH, "height": box["y"] + box["height"] + 16})


def take_mlflow(path: Path) -> None:
    """Write MLflow's page of the search, as `lkca-search ui` opens it."""
    with _served() as address, open_page(_MLFLOW_WIDTH) as page:
        page.goto(address, timeout=_LOADED_MS)
        page.get_by_text("matching run").first.wait_for(timeout=_LOADED_MS)
        for label in _FIRST_VISIT:
            if (button := page.get_by_role("button", name=label, exact=True)).count():
                button.click()
        page.mouse.move(0, 0)
        page.wait_for_timeout(_DRAWN_MS)
        page.screenshot(path=path)


PICTURES: dict[str, Callable[[Path], None]] = {"report.png": take_report, "mlflow.png": take_mlflow}
"""Every picture in docs/, and the function that takes it."""


@contextmanager
def _served() -> Iterator[str]:
    """Yield the address that `lkca-search ui` prints, while its server runs."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [*_COMMAND, "ui", SEARCH, "--port", str(port)]
    with TemporaryDirectory() as folder, (Path(folder) / "output").open("w+") as output:
        server = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            _wait_for(f"http://127.0.0.1:{port}/health", server)
            output.seek(0)
            yield next(word for word in output.read().split() if word.startswith(f"http://127.0.0.1:{port}"))
        finally:
            server.terminate()
            server.wait(timeout=60)


def _wait_for(url: str, server: subprocess.Popen[bytes]) -> None:
    """Wait until a server answers.

    Raises:
        RuntimeError: It ended, or it did not answer in time.
    """
    for _ in range(_SECONDS_TO_START):
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except (URLError, OSError):
            if server.poll() is not None:
                break
            time.sleep(1)
    raise RuntimeError(f"MLflow did not start: run `lkca-search ui {SEARCH}` to see why")


def main(names: list[str]) -> None:
    """Take the named pictures, or all of them."""
    for name in names or PICTURES:
        PICTURES[name](FOLDER / name)
        print(FOLDER / name)


if __name__ == "__main__":
    main(sys.argv[1:])
