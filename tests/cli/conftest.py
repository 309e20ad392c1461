import sys

import pytest
from running import Answer, Command

from lkca_search.cli.app import main


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs `lkca-search` with arguments, in this process."""

    def run(*arguments: str) -> Answer:
        monkeypatch.setattr(sys, "argv", ["lkca-search", *arguments])
        with pytest.raises(SystemExit) as caught:
            main()
        code = caught.value.code
        return Answer(code if isinstance(code, int) else 0, *capsys.readouterr())

    return run
