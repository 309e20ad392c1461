"""A search over two datasets on a real Ray cluster: confirmed and reported."""

from pathlib import Path

import pytest

from lkca_search.records.record import read_replicates
from lkca_search.records.rounds import read_rounds
from tests.support.search.command_line import SearchCommands
from tests.support.search.two_datasets import CELLS, SPACE, write_photos

pytestmark = pytest.mark.slow


def test_a_search_over_datasets_is_trained_and_confirmed_on_the_images_of_each(tmp_path: Path) -> None:
    search = SearchCommands(tmp_path / "home")
    photos = write_photos(tmp_path / "photos")
    search.space.write_text(SPACE.replace("folder:photos", f"folder:{photos}"))
    search.run()
    search.assert_exact(trials_per_cell=2, cells=CELLS)
    _, children = search.runs()
    assert {run.data.tags["dataset"] for run in children} == {"digits", "photos"}
    replicates = read_replicates(search.folder)
    assert sorted(record.cell for record in replicates) == sorted(CELLS)
    hashes = read_rounds(search.folder)[0].hash_by_dataset
    for record in replicates:
        assert record.test is not None
        assert record.test.data_hash == hashes[record.spec.configuration.dataset]
    assert "dataset=photos,images_per_class=4" in search.call("status", "toy")
    assert search.call("repair", "toy")
