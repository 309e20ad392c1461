"""Search that every contestant runs: data, space, training length, number of trials, sampler and seed."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

WARMUP_FRACTION, FINAL_LEARNING_RATE = 0.1, 1e-6
LABEL_SMOOTHING, VALIDATION = 0.1, 0.2
LEARNING_RATE, WEIGHT_DECAY, DROP_PATH_RATE = (3e-4, 1e-2), (1e-3, 0.3), (0.0, 0.2)
SAMPLER: dict[str, Any] = {"n_startup_trials": 10, "multivariate": True, "group": True, "constant_liar": True}
"""Arguments of Optuna's TPE sampler: the defaults of this package, given to the peers too."""
SPACE = """
data:
  dataset: {dataset}
  validation: {validation}
  scale_validation: true
  augment: [{augment}]
factors:
  family: [{families}]
parameters:
  images_per_class: {{value: {images_per_class}}}
  match_parameters: {{value: {parameters}}}
  learning_rate:    {{float: [{learning_rate[0]}, {learning_rate[1]}], log: true}}
  weight_decay:     {{float: [{weight_decay[0]}, {weight_decay[1]}], log: true}}
  drop_path_rate:   {{float: [{drop_path_rate[0]}, {drop_path_rate[1]}]}}
training: {{epochs: {epochs}, batch_size: {batch_size}}}
search:   {{sampler: tpe, trials_per_cell: {trials_per_family}, seed: {seed}}}
resources: {{cpu: 1}}
"""


@dataclass(frozen=True, kw_only=True)
class Question:
    """Size of the search, and the folder of one contestant."""

    dataset: str = "cifar10"
    families: tuple[str, ...] = ("lkca", "vit")
    trials_per_family: int = 12
    images_per_class: int = 200
    augment: tuple[str, ...] = ("crop", "flip")
    epochs: int = 5
    parameters: int = 100_000
    batch_size: int = 128
    slots: int = 2
    """Trials at a time, each on one thread."""
    loader_workers: int = 0
    """Worker processes of a peer's DataLoader."""
    published_lkca: bool = False
    """True if a peer computes LKCA as its paper writes it, not by the faster forms of this package."""
    seed: int = 0
    folder: str = "."
    """Folder of the contestant, with the images."""

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Return the question in a JSON file."""
        values = json.loads(Path(path).read_text())
        return cls(**{**values, "families": tuple(values["families"]), "augment": tuple(values["augment"])})

    def write(self) -> Path:
        """Write the question into its folder, and return the path."""
        path = Path(self.folder) / "question.json"
        path.write_text(json.dumps(asdict(self)))
        return path

    @property
    def num_trials(self) -> int:
        """Trials of all families."""
        return self.trials_per_family * len(self.families)

    @property
    def space_file(self) -> str:
        """Content of the space file of this package."""
        return SPACE.format(
            **{**asdict(self), "families": ", ".join(self.families), "augment": ", ".join(self.augment)},
            validation=VALIDATION,
            learning_rate=LEARNING_RATE,
            weight_decay=WEIGHT_DECAY,
            drop_path_rate=DROP_PATH_RATE,
        )
