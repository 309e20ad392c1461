"""Search on a part of an official dataset, whose images are then replaced under the same name."""

import re
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from lkca_search.analysis.search_results import read_search_results
from lkca_search.reporting.content import make_report
from tests.support.search.command_line import ONE_CELL, SearchCommands

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # a whole search, on machines that may be busy


def write_part(folder: Path, *, seed: int) -> None:
    """Write 60 training images and 20 test images of two classes as Parquet."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, count in (("train", 60), ("test", 20)):
        images = []
        for i in range(count):
            file = BytesIO()
            pixels = np.random.default_rng([seed, count, i]).integers(0, 256, (8, 8), dtype=np.uint8)
            Image.fromarray(pixels).save(file, format="PNG")
            images.append(file.getvalue())
        labels = [i % 2 for i in range(count)]
        rows = {"image": images, "label": labels, "label_name": [str(label) for label in labels]}
        pq.write_table(pa.table(rows), folder / f"{split}.parquet")


def test_a_part_is_named_as_such_and_changed_images_are_refused_by_run_and_confirm(tmp_path: Path) -> None:
    commands = SearchCommands(tmp_path / "home")
    commands.environment["LKCA_DATA_DIR"] = str(tmp_path / "data")
    write_part(tmp_path / "data" / "cifar10", seed=0)
    overrides = (*ONE_CELL, "data.dataset=cifar10", "factors.data_fraction=[1.0]", "confirm={draws: 1, seeds: 1}")
    code, output = commands.start_run(*overrides, "training.steps=4").wait()
    assert code == 0, output
    assert "cifar10: 60 of the 50,000 official training images" in output
    report = make_report(read_search_results(commands.folder))
    part = "60 of the 50,000 official training images and 20 of the 10,000 official test images"
    assert f"The data were a part of cifar10: {part}. Accuracies on the whole dataset may differ." in report.caveats
    assert f"The dataset had only {part}." in dict(report.methods)["Data"]

    (old,) = {record.facts.data_hash for record in commands.records() if record.facts}
    write_part(tmp_path / "data" / "cifar10", seed=1)
    more = commands.start_run(*overrides, "training.steps=4", "search.trials_per_cell=3").wait()
    for code, output in (more, commands.start("confirm", "toy", "--new-round").wait()):
        assert code == 2
        assert f"the training images of search 'toy' must have SHA-256 {old}, got " in output
    assert len(commands.records()) == 2
    code, again = commands.start("rerun", "toy").wait()
    assert code == 2
    assert re.search(rf"data_hash was {old}, is \w+: the training images have changed", again)
