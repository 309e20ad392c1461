"""Mistakes with code of your own: each is one line, with what was meant."""

from pathlib import Path

import pytest

from tests.support.processes import Command

SPACE = """\
data: {dataset: digits, validation: 0.2}
factors: {family: [rings.Rings, lkca]}
parameters:
  rings_dilation: {choice: [1, 2, 3], when: {family: [rings.Rings]}}
  patch_size: {value: 2, when: {family: [lkca]}}
  width: {choice: [16, 32]}
training: {steps: 20}
search: {trials_per_cell: 1}
"""
RINGS = """\
from torch import nn


class Rings(nn.Module):
    def __init__(self, image_shape, num_classes, *, width: int = 16, rings_dilation: int = 1):
        super().__init__()
        self.net = nn.Conv2d(image_shape.channels, width, 3, padding=rings_dilation, dilation=rings_dilation)
        self.head = nn.Linear(width, num_classes)

    def forward(self, images):
        return self.head(self.net(images).mean(dim=(2, 3)))


class Broken(Rings):
    def forward(self, images):
        return self.head(self.net(images))
"""


@pytest.fixture(autouse=True)
def _own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rings.py").write_text(RINGS)
    Path("ringlab").mkdir()
    Path("ringlab", "__init__.py").touch()
    Path("ringlab", "models.py").write_text(RINGS)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            SPACE.replace("rings.Rings", "ring.Rings"),
            "No module named 'ring'; did you mean rings.Rings? Otherwise put ring.py next to the space file",
        ),
        (
            SPACE.replace("rings.Rings", "ringlab.model.Rings"),
            "did you mean ringlab.models.Rings? Otherwise put ringlab/model.py next to the space file",
        ),
        (SPACE.replace("rings.Rings", "rings.Ring"), "did you mean rings.Rings? (space.yaml:2)"),
        (
            SPACE.replace("rings_dilation", "dilation"),
            "dilation is no name of family rings.Rings, which takes width, rings_dilation, match_parameters; "
            "did you mean rings_dilation? (space.yaml:4)",
        ),
        (
            SPACE.replace(", when: {family: [rings.Rings]}", ""),
            "rings_dilation is no name of family lkca; give a name of your own when: {family: [rings.Rings]} (",
        ),
        (
            SPACE.replace("when: {family: [rings.Rings]}", "when: {width: [16]}"),
            "rings_dilation is no name of family lkca; give a name of your own when: {family: [rings.Rings]} (",
        ),
        (SPACE.replace("rings.Rings", "rings.Broken"), "so do 5 more configurations (space.yaml:2)"),
    ],
)
def test_a_mistake_with_own_code_is_one_line_with_what_was_meant(command: Command, text: str, words: str) -> None:
    Path("space.yaml").write_text(text)
    code, _, err = command("plan", "space.yaml")
    assert code == 2
    assert words in err
    assert len(err.splitlines()) == 1


def test_the_space_without_mistakes_can_be_planned(command: Command) -> None:
    Path("space.yaml").write_text(SPACE)
    assert command("plan", "space.yaml").code == 0
