"""Trainings with further metrics: own ones are measured at every report, survive a resume, and lead `patience`."""

from pathlib import Path

import pytest
import torch

from lkca_search.records.trial import TrialSpec
from lkca_search.spec.configuration import Configuration
from lkca_search.spec.metrics import MetricChoice, OwnMetric
from lkca_search.spec.resources import TrialResources
from lkca_search.spec.sections import DataSection, TrainingSection
from lkca_search.training.assembly import open_training
from lkca_search.training.images import DataDirs
from lkca_search.training.loop import Training

OWN = "measured_by_a_test"


@pytest.fixture(autouse=True)
def _own_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / f"{OWN}.py").write_text(
        "def brier(probabilities, labels):\n"
        "    own = probabilities[range(len(labels)), labels]\n"
        "    return (probabilities**2).sum() / len(labels) - 2 * own.mean() + 1\n"
        "def constant(probabilities, labels):\n"
        "    return 0.5\n"
    )
    monkeypatch.syspath_prepend(tmp_path)


def opened(data_dirs: DataDirs, *metrics: MetricChoice, patience: int | None = None) -> Training:
    spec = TrialSpec(
        data=DataSection(dataset="digits"),
        training=TrainingSection(steps=10, reports=5, patience=patience),
        resources=TrialResources(),
        configuration=Configuration(
            family="lkca", data_fraction=0.1, patch_size=2, depth=1, width=16, kernel_size=3, learning_rate=1e-2
        ),
        seed=0,
        split_seed=0,
        metrics=metrics,
    )
    _, training = open_training(spec, data_dirs, device=torch.device("cpu"))
    return training


def test_metrics_of_a_resumed_training_equal_those_of_an_uninterrupted_one(data_dirs: DataDirs) -> None:
    metrics = (OwnMetric(name=f"{OWN}.brier", direction="minimize"), "val_macro_auroc")
    whole = list(opened(data_dirs, *metrics).results())
    interrupted = opened(data_dirs, *metrics)
    results = interrupted.results()
    for _ in range(2):
        next(results)
    resumed = opened(data_dirs, *metrics)
    resumed.load_state(interrupted.state())
    assert [result.metrics for result in resumed.results()] == [result.metrics for result in whole]
    assert [result.val_loss for result in resumed.results()] == [result.val_loss for result in whole]
    for result in whole:
        assert {f"{OWN}.brier", "val_macro_auroc", "val_top5_accuracy"} < result.metrics.keys()
        assert 0 < result.value(f"{OWN}.brier") < 2


def test_further_metrics_change_no_number_of_a_training(data_dirs: DataDirs) -> None:
    plain, measured = (
        [(result.train_loss, result.val_loss, result.val_accuracy) for result in opened(data_dirs, *metrics).results()]
        for metrics in (("val_accuracy",), ("val_loss", "val_macro_auroc"))
    )
    assert plain == measured


def test_patience_follows_the_leading_metric(data_dirs: DataDirs) -> None:
    constant = OwnMetric(name=f"{OWN}.constant", direction="maximize")
    assert len(list(opened(data_dirs, constant, patience=2).results())) == 3
    assert len(list(opened(data_dirs, "val_loss", constant, patience=2).results())) == 5
