"""The tutorial as a newcomer types it: every command works, from 60 made photos to the report and predictions."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.code_blocks import ROOT, read_blocks
from tests.support.processes import WAIT_SECONDS

BLOCKS = list(read_blocks(ROOT / "docs" / "tutorial.md"))
SHORT = ["training={steps: 4, batch_size: 16, reports: 2}", "search.trials_per_cell=1", "confirm.draws=2"]
"""Changes that make the search short; the page has none of them."""
NOT_RUN = {"ui": "it is a server", "status": "it watches until Ctrl-C", "stop": "the search has ended by itself"}


@pytest.mark.slow
def test_every_command_of_the_tutorial_works_in_an_empty_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LKCA_SEARCH_HOME", str(tmp_path / "lkca_runs"))
    for block in BLOCKS:
        name = block.text.partition("\n")[0].removeprefix("# ")
        if block.language in ("python", "yaml"):
            (tmp_path / name).write_text(block.text)
    ran = []
    calls = [[sys.executable, "make_photos.py"], [sys.executable, "split.py"]]
    for block in BLOCKS:
        if block.language == "":
            for words in block.commands():
                if words[0] == "lkca-search" and words[1] not in NOT_RUN:
                    changes = SHORT if words[1] == "run" else []
                    calls.append([sys.executable, "-m", "lkca_search", *words[1:], *changes])
    for call in calls:
        done = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True, timeout=WAIT_SECONDS)
        assert done.returncode == 0, (call, done.stdout, done.stderr)
        ran.append((call[3:4], done.stdout))
    expected = ["data", "data", "init", "plan", "plan", "run", "report", "best", "predict"]
    assert [words for words, _ in ran[2:]] == [[name] for name in expected]
    report = next(output for words, output in ran if words == ["report"])
    (page,) = [Path(line) for line in report.splitlines() if line.endswith("report.html")]
    assert "photos" in page.read_text(encoding="utf-8")
    assert ran[-1][1].count(".png") == 15
