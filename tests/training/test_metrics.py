"""Metrics of an evaluation agree with the definitions of scikit-learn, on random and on degenerate outputs."""

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import metrics as sklearn_metrics

from lkca_search.spec.metrics import METRICS, NUM_CALIBRATION_BINS, OwnMetric
from lkca_search.training.evaluation import evaluate
from lkca_search.training.metrics import (
    AT_EVERY_REPORT,
    FUNCTIONS,
    TOP,
    MetricSet,
    UndefinedMetric,
    balanced_accuracy,
    calibration_error,
    macro_auroc,
    top5_accuracy,
)

Outputs = tuple[NDArray[np.float32], NDArray[np.int64]]


@st.composite
def outputs(draw: Any, min_classes: int = 2, has_all_classes: bool = False) -> Outputs:
    """Return probabilities (N, K) and labels (N,): rounded ones have ties, steep ones are 0 and 1, classes may lack."""
    num_classes = draw(st.integers(min_classes, 12))
    num_images = draw(st.integers(num_classes, 60))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    logits = draw(st.sampled_from([0.0, 0.3, 3.0, 60.0])) * generator.standard_normal((num_images, num_classes))
    if draw(st.booleans()):
        logits = logits.round()
    labels = generator.integers(0, draw(st.integers(1, num_classes)), num_images)
    if has_all_classes:
        labels[:num_classes] = np.arange(num_classes)
    return torch.from_numpy(logits.astype(np.float32)).softmax(dim=1).numpy(), labels


@given(outputs(min_classes=TOP + 1))
def test_top5_accuracy_is_that_of_scikit_learn(given: Outputs) -> None:
    probabilities, labels = given
    # Of equal classes, scikit-learn counts the last ones and argmax the first one, so the classes are reversed.
    num_classes = probabilities.shape[1]
    expected = sklearn_metrics.top_k_accuracy_score(
        num_classes - 1 - labels, probabilities[:, ::-1], k=TOP, labels=np.arange(num_classes)
    )
    assert top5_accuracy(probabilities, labels) == pytest.approx(expected)
    assert top5_accuracy(probabilities, labels) >= (probabilities.argmax(axis=1) == labels).mean()


@given(outputs())
def test_balanced_accuracy_is_that_of_scikit_learn_also_without_some_classes(given: Outputs) -> None:
    probabilities, labels = given
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # predicted classes without an image
        expected = sklearn_metrics.balanced_accuracy_score(labels, probabilities.argmax(axis=1))
    assert balanced_accuracy(probabilities, labels) == pytest.approx(expected)


@given(outputs(has_all_classes=True))
def test_macro_auroc_is_that_of_scikit_learn_also_with_ties(given: Outputs) -> None:
    probabilities, labels = given
    one_against_rest = np.eye(probabilities.shape[1])[labels]
    expected = sklearn_metrics.roc_auc_score(one_against_rest, probabilities, average="macro")
    assert macro_auroc(probabilities, labels) == pytest.approx(expected, abs=1e-12)


@given(outputs())
def test_the_calibration_error_is_the_mean_gap_of_fifteen_bins(given: Outputs) -> None:
    probabilities, labels = given
    confidences, is_correct = probabilities.max(axis=1).astype(np.float64), probabilities.argmax(axis=1) == labels
    error = 0.0
    for index in range(NUM_CALIBRATION_BINS):
        inside = (confidences > index / NUM_CALIBRATION_BINS) & (confidences <= (index + 1) / NUM_CALIBRATION_BINS)
        if inside.any():
            error += inside.mean() * abs(is_correct[inside].mean() - confidences[inside].mean())
    # A confidence next to an edge, such as 1/3, may be in either bin: ceil(15 p) and p <= k / 15 round differently.
    is_edge = np.abs(confidences * NUM_CALIBRATION_BINS - np.round(confidences * NUM_CALIBRATION_BINS)) < 1e-9
    if not is_edge.any() or (confidences[is_edge] == 1).all():
        assert calibration_error(probabilities, labels) == pytest.approx(error)
    assert 0 <= calibration_error(probabilities, labels) <= 1


def test_metrics_of_known_outputs() -> None:
    sure = np.eye(6, dtype=np.float32)
    labels = np.arange(6)
    for name, best in [("top5_accuracy", 1), ("balanced_accuracy", 1), ("calibration_error", 0), ("macro_auroc", 1)]:
        assert FUNCTIONS[name](sure, labels) == best
    uniform = np.full((6, 6), 1 / 6, dtype=np.float32)
    assert top5_accuracy(uniform, labels) == pytest.approx(5 / 6)  # the last class is never among the first 5
    assert balanced_accuracy(uniform, labels) == pytest.approx(1 / 6)
    assert calibration_error(uniform, labels) == pytest.approx(0, abs=1e-7)
    assert macro_auroc(uniform, labels) == 0.5
    # 9 images of class 0 and 1 of class 1, all predicted as class 0 with confidence 0.8
    skewed = np.tile(np.array([0.8, 0.2], dtype=np.float32), (10, 1))
    rare = np.array([0] * 9 + [1])
    assert balanced_accuracy(skewed, rare) == 0.5
    assert calibration_error(skewed, rare) == pytest.approx(0.1)


def test_a_metric_without_a_value_gives_the_reason() -> None:
    few = np.full((4, 3), 1 / 3, dtype=np.float32)
    with pytest.raises(UndefinedMetric, match="needs more than 5 classes, the data has 3"):
        top5_accuracy(few, np.array([0, 1, 2, 0]))
    with pytest.raises(UndefinedMetric, match="needs an image of every class, none is of class 1, 2"):
        macro_auroc(few, np.zeros(4, dtype=np.int64))
    with pytest.raises(UndefinedMetric, match="at least 2 classes"):
        macro_auroc(few[:, :1], np.zeros(4, dtype=np.int64))


def test_only_metrics_that_the_search_names_must_have_a_value() -> None:
    few, labels = np.full((4, 3), 1 / 3, dtype=np.float32), np.array([0, 1, 1, 0])
    assert list(MetricSet(["val_accuracy"]).of_validation(few, labels)) == [
        "val_balanced_accuracy",
        "val_calibration_error",
    ]
    with pytest.raises(UndefinedMetric, match="none is of class 2"):
        MetricSet(["val_accuracy", "val_macro_auroc"]).of_validation(few, labels)
    assert list(MetricSet(["val_macro_auroc"]).of_test(few, labels)) == ["balanced_accuracy", "calibration_error"]


def test_the_registry_and_the_functions_name_the_same_metrics() -> None:
    named = {metric.test_field for metric in METRICS.values() if metric.test_field not in (None, "loss", "accuracy")}
    assert named == set(FUNCTIONS)
    assert set(AT_EVERY_REPORT) <= set(FUNCTIONS)


def test_an_own_metric_gets_probabilities_and_labels_that_it_cannot_change(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_scores.py").write_text(
        "def brier_score(probabilities, labels):\n"
        "    probabilities = probabilities.copy()\n"
        "    probabilities[range(len(labels)), labels] -= 1\n"
        "    return (probabilities**2).sum(axis=1).mean()\n"
        "def in_place(probabilities, labels):\n"
        "    probabilities -= 1\n"
        "def no_number(probabilities, labels):\n"
        "    return float('nan')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    few, labels = np.full((4, 2), 0.5, dtype=np.float32), np.array([0, 1, 1, 0])

    def measure(name: str) -> dict[str, float]:
        chosen = MetricSet(["val_loss", OwnMetric(name=f"own_scores.{name}", direction="minimize")])
        assert chosen.of_test(few, labels).get(f"own_scores.{name}") == 0.5
        return chosen.of_validation(few, labels)

    assert measure("brier_score")["own_scores.brier_score"] == 0.5
    with pytest.raises(ValueError, match="read-only"):
        measure("in_place")
    with pytest.raises(UndefinedMetric, match=r"own_scores.no_number must return a finite number, got nan"):
        MetricSet([OwnMetric(name="own_scores.no_number", direction="maximize")]).of_validation(few, labels)


def test_an_own_metric_outside_its_range_is_an_error_and_its_rounding_error_is_none(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ranged_scores.py").write_text(
        "def rounded(probabilities, labels):\n    return 2 + 1e-7\n"
        "def beyond(probabilities, labels):\n    return 2.1\n"
        "def negative(probabilities, labels):\n    return -0.2\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    few, labels = np.full((4, 2), 0.5, dtype=np.float32), np.array([0, 1, 1, 0])

    def measure(function: str, **choice: Any) -> float:
        name = f"ranged_scores.{function}"
        chosen = MetricSet([OwnMetric(name=name, direction="minimize", **choice)])
        return chosen.of_validation(few, labels)[name]

    assert measure("rounded", range=(0, 2)) == 2.0
    assert measure("beyond", range=(0, None)) == 2.1
    assert measure("negative") == -0.2
    with pytest.raises(UndefinedMetric, match=r"metric ranged_scores.beyond must be in \[0, 2\], got 2.1"):
        measure("beyond", range=(0, 2))
    with pytest.raises(UndefinedMetric, match=r"metric ranged_scores.negative must be in \[0, 1\], got -0.2"):
        measure("negative", unit="%")


def test_one_pass_gives_loss_accuracy_and_the_outputs_in_order() -> None:
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 7)
    images, labels = torch.randn(20, 4), torch.arange(20) % 7
    found = evaluate(model, zip(images.split(6), labels.split(6), strict=True))
    expected = model(images).detach()
    assert found.loss == pytest.approx(torch.nn.functional.cross_entropy(expected, labels).item())
    assert found.accuracy == (expected.argmax(dim=1) == labels).double().mean().item()
    assert found.labels.tolist() == labels.tolist()
    assert torch.allclose(torch.from_numpy(found.probabilities), expected.softmax(dim=1))
    assert model.training
