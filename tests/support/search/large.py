"""A search of any number of trials, made by the real ledger and lease with simulated trainings on the digits."""

from collections.abc import Iterator
from pathlib import Path

from lkca_search.data.store import open_images
from lkca_search.layout import Home, SearchFolder
from lkca_search.records.record import RecordReader
from lkca_search.records.tables import write_tables
from lkca_search.search.driver.ledger import Ledger
from lkca_search.search.driver.messages import Assignment, Message
from lkca_search.search.simulation.simulator import SimulatedWorker, simulate
from lkca_search.search.simulation.toy_training import ToyTraining
from lkca_search.search.state.dataset import commit_search, describe_datasets
from lkca_search.search.state.lease import hold_lease
from lkca_search.search.state.manifests import write_manifests
from lkca_search.spec.space_file import read_space_file
from lkca_search.tracking.tracker import Tracker

SPACE = """
data: {{dataset: digits, validation: 0.2}}
factors:
  family: [lkca, vit]
  data_fraction: {fractions}
parameters:
  kernel_size:   {{choice: [3, 5], when: {{family: [lkca]}}}}
  num_heads:     {{value: 2, when: {{family: [vit]}}}}
  patch_size:    {{value: 2}}
  depth:         {{value: 1}}
  width:         {{choice: [8, 16]}}
  learning_rate: {{float: [1.0e-4, 1.0e-2], log: true}}
  weight_decay:  {{float: [1.0e-3, 1.0e-1], log: true}}
training: {{steps: {reports}, reports: {reports}, batch_size: 16}}
search:   {{sampler: {sampler}, pruner: {pruner}, trials_per_cell: {trials}}}
"""


def write_space(
    path: Path, num_trials: int, *, num_cells: int = 20, reports: int = 20, sampler: str = "tpe", pruner: str = "none"
) -> Path:
    """Write the space file of a search of `num_trials` trials in an even number of cells."""
    fractions = [round(0.2 + 0.8 * (i + 1) / (num_cells // 2), 4) for i in range(num_cells // 2)]
    text = SPACE.format(
        fractions=fractions, reports=reports, sampler=sampler, pruner=pruner, trials=num_trials // num_cells
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def make_large_search(
    home: Home,
    space: Path,
    *,
    overrides: list[str] | None = None,
    num_left: int = 0,
    worker: SimulatedWorker | None = None,
) -> SearchFolder:
    """Run the search of a space file in simulated time, except its last `num_left` trials; return its folder."""
    parsed = read_space_file(space, overrides or [])
    spec, name = parsed.spec, space.stem
    folder = home.search(name).with_storage(spec.storage)
    images = open_images("digits", "train", cache=home.datasets)
    with hold_lease(folder) as lease:
        reader = RecordReader(folder)
        commit_search(folder, describe_datasets(spec, {None: images}), reader, parsed)
        manifests = write_manifests(spec, {None: images}, folder)
        shape, num_classes = images.shape, len(images.class_names)
        ledger = Ledger(
            folder,
            spec,
            shape,
            num_classes,
            Tracker(),
            manifests=manifests,
            driver=lease.driver,
            ensure_lease=lease.ensure,
            reader=reader,
        )
        simulate(ledger, _stopping(ledger, worker or ToyTraining(), ledger.num_left - num_left))
        write_tables(reader.trials(), reader.replicates(), folder.root)
    return folder


def _stopping(ledger: Ledger, worker: SimulatedWorker, num_trials: int) -> SimulatedWorker:
    """Return a worker that halts the ledger when `num_trials` have started."""
    num_started = 0

    def train(assignment: Assignment) -> Iterator[Message]:
        nonlocal num_started
        num_started += 1
        if num_started == num_trials:
            ledger.halt("the others are left")
        return worker(assignment)

    return train
