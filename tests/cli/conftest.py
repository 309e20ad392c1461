import sys

import pytest

from lkca_search.cli.app import main
from tests.support.processes import Answer, Command


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Return a function that runs `lkca-search` with arguments in this process."""

    def run(*arguments: str) -> Answer:
        monkeypatch.setattr(sys, "argv", ["lkca-search", *arguments])
        with pytest.raises(SystemExit) as caught:
            main()
        code = caught.value.code
        return Answer(code if isinstance(code, int) else 0, *capsys.readouterr())

    return run
