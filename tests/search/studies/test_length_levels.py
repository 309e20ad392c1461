"""Studies, and the check of a lost spec, in searches whose cells differ in length and batch size."""

import optuna

from lkca_search.records.trial import TrialSpec
from lkca_search.search.state.manifests import split_seed
from lkca_search.search.state.resume import find_record_conflict
from lkca_search.search.studies.study import Study, open_in_memory_storage
from lkca_search.seeds import derive_seed
from lkca_search.spec.cells import cells
from tests.support.search_results import make_search_results, make_spec


def test_a_pruner_has_the_reports_of_its_cell() -> None:
    spec = make_spec(
        (), (), factors={"epochs": (3, 9)}, training={}, search={"trials_per_cell": 2, "pruner": "hyperband"}
    )
    storage = open_in_memory_storage()
    found = {}
    for cell in cells(spec):
        Study(storage, spec, cell)
        pruner = optuna.load_study(study_name=cell.key, storage=storage).user_attrs["pruner"]
        found[cell.levels["epochs"]] = pruner["max_resource"]
    assert found == {3: 3, 9: 9}


def test_records_of_levels_are_those_of_a_space_file_whose_sections_lack_them() -> None:
    levels = {"family": ("lkca",), "data_fraction": (0.1,), "batch_size": (16, 64), "steps": (20, 30)}
    results = make_search_results(None, factors=levels, training={"reports": 2})
    records = []
    for record in results.trials:
        values = {name: getattr(record.spec, name) for name in TrialSpec.model_fields}
        seeds = {"seed": derive_seed(results.spec.search.seed, "trial", record.number)}
        trial = TrialSpec.model_validate({**values, **seeds, "split_seed": split_seed(results.spec)})
        records.append(record.model_copy(update={"spec": trial}))
    assert find_record_conflict(records, results.spec) is None
    other = results.spec.model_copy(update={"training": results.spec.training.model_copy(update={"reports": 3})})
    assert "training of family=lkca,data_fraction=0.1,batch_size=16,steps=20/0 is" in str(
        find_record_conflict(records, other)
    )
