"""Pictures of README and docs are made by a script, from the code of today."""

import struct
from pathlib import Path

import pytest

from documentation.pictures import FOLDER, PICTURES, open_page
from tests.reporting.conftest import CHROMIUM


def test_every_picture_of_the_docs_has_a_function_that_takes_it() -> None:
    assert {path.name for path in FOLDER.glob("*.png")} == PICTURES.keys()


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
def test_the_browser_takes_a_picture_of_the_given_size(tmp_path: Path) -> None:
    with open_page(320, 200) as page:
        page.set_content("<p>made</p>")
        page.screenshot(path=tmp_path / "made.png")
    header = (tmp_path / "made.png").read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", header[16:]) == (320, 200)
