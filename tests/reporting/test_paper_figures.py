"""Figures for a paper: their legend fits, however many and long its names are."""

import io

import pytest
from PIL import Image

from lkca_search.reporting.rendering.paper import SIZE_INCHES, draw
from lkca_search.reporting.values.figure import Figure, Series

LONG = "family=resnet, schedule warmup_stable_decay, augment crop"
WHITE = 255


def figure(names: list[str]) -> Figure:
    series = tuple(
        Series(name=name, kind="points", x=(100.0, 1000.0), y=(i + 1.0, i + 2.0), color_index=i)
        for i, name in enumerate(names)
    )
    return Figure(
        name="curves",
        title="",
        caption="",
        x_label="training images",
        y_label="error",
        x_ticks=(100, 1000),
        series=series,
    )


@pytest.mark.filterwarnings("error::UserWarning")
@pytest.mark.parametrize(
    "names", [["lkca", "vit", "resnet"], [f"{LONG} {i}" for i in range(12)], [f"{LONG}, {LONG} {i}" for i in range(3)]]
)
def test_a_legend_fits_and_leaves_room_for_the_axes(names: list[str]) -> None:
    with Image.open(io.BytesIO(draw(figure(names))["png"])) as image:
        gray = image.convert("L")
    width, height = gray.size
    assert width == round(SIZE_INCHES[0] * 300)
    for border in ((0, 0, 2, height), (width - 2, 0, width, height), (0, 0, width, 2), (0, height - 2, width, height)):
        assert gray.crop(border).getextrema() == (WHITE, WHITE), "nothing is cut at the border"


def test_a_legend_with_many_rows_makes_the_figure_higher() -> None:
    sizes = []
    for names in (["lkca", "vit"], [f"{LONG} {i}" for i in range(12)]):
        with Image.open(io.BytesIO(draw(figure(names))["png"])) as image:
            sizes.append(image.size[1])
    assert sizes[1] > sizes[0] + 300
