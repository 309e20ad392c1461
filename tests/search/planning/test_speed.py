"""Speed of trials: lines fitted to measured seconds, and a calibration."""

from typing import Any

import pytest

from lkca_search.data.store import Images
from lkca_search.search.planning.calibration import calibrate
from lkca_search.search.planning.space_size import extreme_configurations, sampled_configurations
from lkca_search.search.planning.speed import FamilyLines, Line, Speed, assumed_speed
from lkca_search.search.planning.workload import WorkloadFactory
from lkca_search.spec.cells import cells
from lkca_search.spec.resources import TrialResources
from lkca_search.training.images import DataDirs


@pytest.mark.parametrize(
    ("points", "base", "slope"),
    [
        ([(10, 3.0), (20, 5.0)], 1.0, 0.2),
        ([(10, 3.0)], 0.0, 0.3),
        ([(10, 1.0), (20, 4.0), (30, 9.0)], 0.0, None),
        ([(10, 3.0), (20, 2.0)], None, 0.0),
        ([(10, 3.0), (20, 5.0), (40, 9.0)], 1.0, 0.2),
    ],
)
def test_a_line_fits_its_points_with_an_intercept_and_a_slope_of_at_least_0(
    points: list[tuple[float, float]], base: float | None, slope: float | None
) -> None:
    line = Line.fit(points)
    assert line.intercept >= 0
    assert line.slope >= 0
    assert base is None or line.intercept == pytest.approx(base)
    assert slope is None or line.slope == pytest.approx(slope)


def test_a_family_has_its_own_line_or_the_overall_line_scaled_to_its_point() -> None:
    lines = FamilyLines.fit({"lkca": [(10, 3.0), (20, 5.0)], "vit": [(20, 50.0)]})
    assert lines.predict("lkca", 30) == pytest.approx(7.0)
    assert lines.predict("vit", 20) == pytest.approx(50.0)
    assert lines.predict("resnet", 20) == lines.overall.predict(20)


def test_the_seconds_of_a_trial_are_start_steps_and_evaluations(read: Any, images: Images) -> None:
    spec = read().spec
    workload = WorkloadFactory(spec, images).make(extreme_configurations(spec, cells(spec)[0])[0])
    speed = Speed(
        start_seconds=1.0,
        step=FamilyLines(overall=Line(intercept=2.0, slope=0.0)),
        evaluation=FamilyLines(overall=Line(intercept=0.5, slope=0.0)),
    )
    num_evaluated = workload.num_reports * workload.num_validation_images
    assert speed.trial_seconds(workload) == 1.0 + 2.0 * workload.steps + 0.5 * num_evaluated
    cores = [assumed_speed(TrialResources(cpu=cpu), on_gpu=False).trial_seconds(workload) for cpu in (1, 4)]
    assert cores[0] > cores[1]


def test_a_calibration_measures_the_extremes_of_each_family_and_holds_out_one_configuration(
    read: Any, data_dirs: DataDirs, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lkca_search.search.planning.calibration.MEASURED_SECONDS", 0.1)
    diverging = "parameters.learning_rate={value: 1.0e+3}"
    spec = read("parameters.depth={int: [1, 4]}", "training={steps: 400}", diverging).spec
    workloads = [
        WorkloadFactory(spec, images).make(configuration)
        for cell in cells(spec)
        for configuration in extreme_configurations(spec, cell)
    ]
    workloads += [
        WorkloadFactory(spec, images).make(configuration)
        for cell in cells(spec)
        for configuration in sampled_configurations(spec, cell, 6)
    ]
    calls: list[tuple[int, int]] = []
    calibration, speed = calibrate(spec, workloads, data_dirs, on_measured=lambda done, of: calls.append((done, of)))
    assert calls == [(i, 7) for i in range(1, 8)]
    for family in ("lkca", "vit"):
        of_family = [workload.cost.flops for workload in workloads if workload.configuration.family == family]
        fitted = [workload.flops for workload in calibration.fitted if workload.family == family]
        assert (min(fitted), max(fitted), len(fitted)) == (min(of_family), max(of_family), 3)
    assert calibration.held_out is not None
    assert calibration.held_out.measured not in calibration.fitted
    predicted, measured = calibration.held_out.predicted_trial_seconds, calibration.held_out.measured_trial_seconds
    assert min(predicted, measured) > 0
    assert calibration.held_out.error == pytest.approx(predicted / measured - 1)
    assert all(speed.trial_seconds(workload) > 0 for workload in workloads)
