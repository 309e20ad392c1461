"""Space files for tests of specs."""

from collections.abc import Callable

from lkca_search.spec.cells import cells
from lkca_search.spec.search_spec import SearchSpec
from lkca_search.spec.space_file import SpaceFile

Read = Callable[..., SpaceFile]
"""Reads a text, then overrides, as a space file."""
Run = Callable[..., str]
"""Runs a text, then overrides, as a space file that must be refused; returns the error."""
Space = Callable[..., SpaceFile]
"""Reads a fixed space file with overrides."""

VALID = """\
# Question: does it read?
data:
  dataset: cifar10
  validation: 0.2
  augment: [crop, flip]
factors:
  family: [lkca, vit]
  data_fraction: [0.1, 1]
parameters:
  kernel_size: {choice: [3, 5], when: {family: [lkca]}}
  depth: {int: [2, 8], step: 2}
  width: {value: 64}
  learning_rate: {float: [1.0e-4, 1.0e-2], log: true}
training:
  steps: 100
  batch_size: 32
search:
  trials_per_cell: 6
  seed: 7
resources:
  gpu: 0.25
"""


DESIGNED = """\
data: {dataset: cifar10}
design: one_at_a_time
base: {kernel_size: 5}
exclude:
  - {family: vit, data_fraction: 0.1}
  - {kernel_size: [3, 7]}
factors:
  family: [lkca, vit]
  kernel_size: {levels: [3, 5, 7], when: {family: [lkca]}}
  match_parameters: {levels: [250k, 1.0M]}
  data_fraction: [0.1, 1]
parameters:
  learning_rate: {value: 0.1}
training: {steps: 100}
search:
  trials_per_cell: 6
  sampler: {name: tpe, n_startup_trials: 20}
  pruner: {name: patient, patience: 2, wraps: {name: median, n_warmup_steps: 3}}
"""

SPACE = """\
data: {dataset: digits}
factors:
  family: [lkca, vit]
  data_fraction: [0.1, 1]
parameters:
  kernel_size: {choice: [3, 5, 7], when: {family: [lkca]}}
  patch_size: {value: 2}
  depth: {int: [2, 4]}
  width: {choice: [32, 64]}
  learning_rate: {float: [1.0e-4, 1.0e-2], log: true}
training: {steps: 100}
search: {trials_per_cell: 4}
"""

MIXERS = """\
data: {dataset: digits}
design: one_at_a_time
base: {kernel_size: 7}
factors:
  family: [lkca, lkca_grouped, vit]
  kernel_size: {levels: [3, 7], when: {family: [lkca, lkca_grouped]}}
  position_embedding: [true, false]
  data_fraction: [0.1, 1]
parameters:
  patch_size: {value: 2}
  learning_rate: {float: [1.0e-4, 1.0e-2], log: true}
training: {steps: 100}
search: {trials_per_cell: 4}
"""


def cell_keys(spec: SearchSpec) -> list[str]:
    """Return the keys of the cells of a spec."""
    return [cell.key for cell in cells(spec)]
