"""A finished search of two confirmed cells, made without training."""

import pytest

from lkca_search.layout import SearchFolder
from lkca_search.records.inspection.inspection_file import save_inspection
from lkca_search.records.predictions import save_predictions
from tests.support.inspections import make_inspection
from tests.support.records import CELL, make_predictions, make_record, make_replicate, make_search

VIT = CELL.replace("lkca", "vit")


@pytest.fixture
def made() -> SearchFolder:
    """Return the folder of the search `made`: three trials, and two replicates with predictions."""
    trials = [make_record(0, accuracy=0.5), make_record(1, accuracy=0.75), make_record(0, accuracy=0.6, family="vit")]
    replicates = [make_replicate(0), make_replicate(1)]
    folder = make_search("made", [*trials, *replicates])
    for seed, replicate in enumerate(replicates):
        attempt = folder.trial(replicate.trial_id).attempt(driver=1, attempt=1)
        save_predictions(make_predictions(seed), attempt, replicate_id=replicate.trial_id)
        save_inspection(make_inspection((1.0, 2.0)), attempt, replicate_id=replicate.trial_id)
    return folder
