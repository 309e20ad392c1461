"""Sections on single trials: what is drawn, what is left out and why, and runs in MLflow without a path."""

from dataclasses import replace

import pytest

from lkca_search.analysis.search_results import SearchResults
from lkca_search.analysis.trials.coordinates import MAX_LINES
from lkca_search.records.record import Record
from lkca_search.records.search.mlflow_runs import MAX_RUNS, NO_RUNS, MlflowRuns
from lkca_search.reporting.content import make_report
from lkca_search.reporting.rendering.html import to_html
from lkca_search.reporting.rendering.paper import draw
from lkca_search.reporting.trials.training import MAX_FIGURES, MAX_PANELS
from lkca_search.reporting.values.panels import CurvePanels, ParallelCoordinates
from lkca_search.reporting.values.report import Report, Section
from tests.support.dataset_results import make_dataset_results, normal
from tests.support.search_results import law, make_search_results

PARAMETERS = {
    "patch_size": {"value": 2},
    "learning_rate": {"float": (1e-4, 1e-2), "log": True},
    "depth": {"int": (1, 12)},
}


def with_depths(results: SearchResults) -> SearchResults:
    """Return the results with a depth per trial, which is a searched hyperparameter."""

    def deeper(record: Record) -> Record:
        configuration = record.spec.configuration.model_copy(
            update={"depth": 1 + record.number % 5, "learning_rate": 1e-3 * (1 + record.number % 10)}
        )
        return record.model_copy(update={"spec": record.spec.model_copy(update={"configuration": configuration})})

    return replace(results, trials=[deeper(record) for record in results.trials])


SEARCHED = with_depths(make_search_results(law(), fractions=(0.02, 0.1), parameters=PARAMETERS))


def section(report: Report, name: str) -> Section:
    (found,) = (each for top in report.sections for each in top.every() if each.name == name)
    return found


def test_each_family_has_a_figure_with_a_panel_per_size_and_the_best_trial_marked() -> None:
    found = section(make_report(SEARCHED), "training")
    assert [figure.name for figure in found.figures] == ["training_lkca", "training_vit"]
    for figure in found.figures:
        assert isinstance(figure, CurvePanels)
        assert [panel.title for panel in figure.panels] == ["360 images", "1,800 images"]
        assert figure.num_columns == 2
        assert figure.caption == "All 6 trials with a result."
        for panel in figure.panels:
            labels = {role: [curve.label for curve in panel.curves if curve.role == role] for role in ("best", "mean")}
            assert labels == {"best": ["trial 1 (the best)"], "mean": ["mean of 10 replicates of trial 1"]}
    assert len({figure.y_range for figure in found.figures if isinstance(figure, CurvePanels)}) == 1
    assert "The band is not a confidence interval." in found.paragraphs[0]
    assert "share the validation images" in found.paragraphs[0]


def test_many_cells_are_several_figures_and_cells_beyond_them_are_named() -> None:
    sizes = tuple(number / 1000 for number in range(1, MAX_PANELS * MAX_FIGURES + 3))
    results = make_search_results(None, families=("lkca",), fractions=sizes, trials=2)
    found = section(make_report(results), "training")
    assert [len(figure.panels) for figure in found.figures if isinstance(figure, CurvePanels)] == [
        MAX_PANELS
    ] * MAX_FIGURES
    assert len({figure.name for figure in found.figures}) == MAX_FIGURES
    assert found.paragraphs[1].endswith(f"data_fraction={sizes[-2]:g} and family=lkca,data_fraction={sizes[-1]:g}.")


def test_parallel_coordinates_have_hyperparameters_then_images_then_the_metric() -> None:
    found = section(make_report(SEARCHED), "trials")
    assert [figure.name for figure in found.figures] == ["parallel_lkca", "parallel_vit"]
    for figure in found.figures:
        assert isinstance(figure, ParallelCoordinates)
        labels = [axis.label for axis in figure.axes]
        assert labels == ["learning_rate", "depth", "training images", "validation accuracy, %"]
        assert {line.label.rpartition("/")[2] for line in figure.lines if line.is_marked} == {"1"}
        assert [line.shade for line in figure.lines] == sorted(line.shade for line in figure.lines)
        assert figure.lines[-1].is_marked, "the best line is above the others"
        assert figure.ends == ("40.0", "60.0")


def test_lines_of_a_minimized_metric_have_the_strongest_color_at_the_lowest_value() -> None:
    results = with_depths(
        make_search_results(
            law(), fractions=(0.1,), parameters=PARAMETERS, search={"trials_per_cell": 3, "metric": "val_loss"}
        )
    )
    losses = {0: 2.0, 1: 0.5, 2: 3.0}

    def with_loss(record: Record) -> Record:
        last = record.curve[-1].model_copy(update={"val_loss": losses[record.number]})
        return record.model_copy(update={"curve": (*record.curve[:-1], last)})

    report = make_report(replace(results, trials=[with_loss(record) for record in results.trials]))
    for figure in section(report, "trials").figures:
        assert isinstance(figure, ParallelCoordinates)
        shades = {line.label.rpartition("/")[2]: line.shade for line in figure.lines}
        assert (shades["1"], shades["2"]) == (1.0, 0.0)
        assert figure.ends == ("3.000", "0.500")


def test_one_searched_hyperparameter_is_a_reason_in_place_of_the_figure() -> None:
    found = section(make_report(make_search_results(law(), fractions=(0.1,))), "trials")
    assert found.figures == ()
    assert found.paragraphs == tuple(
        f"Parallel coordinates of {family}: left out, only learning_rate varies among its complete trials."
        for family in ("lkca", "vit")
    )


def test_of_many_trials_the_best_of_each_cell_and_a_stated_number_are_drawn() -> None:
    results = with_depths(make_search_results(None, families=("lkca",), trials=150, parameters=PARAMETERS))
    (figure,) = section(make_report(results), "trials").figures
    assert isinstance(figure, ParallelCoordinates)
    assert len(figure.lines) == MAX_LINES
    assert len({line.label.rpartition("/")[0] for line in figure.lines if line.is_marked}) == 5
    assert figure.caption.startswith("300 of 750 complete trials")


@pytest.mark.parametrize(
    ("kernels", "sizes", "mark", "count"),
    [
        ((3, 5), 4, "best trial of each cell", 8),
        ((3, 5, 7), 3, "best trial of each number of training images", 3),
        ((3,), 9, "best trial of all", 1),
    ],
)
def test_few_lines_are_marked(kernels: tuple[int, ...], sizes: int, mark: str, count: int) -> None:
    factors = {
        "family": ("lkca",),
        "kernel_size": kernels,
        "data_fraction": tuple(0.01 * (1 + number) for number in range(sizes)),
    }
    results = with_depths(make_search_results(None, factors=factors, parameters=PARAMETERS))
    (figure,) = section(make_report(results), "trials").figures
    assert isinstance(figure, ParallelCoordinates)
    assert (figure.mark, sum(line.is_marked for line in figure.lines)) == (mark, count)


def test_equal_results_give_equal_files() -> None:
    one, other = (
        [figure for name in ("training", "trials") for figure in section(make_report(SEARCHED), name).figures]
        for _ in range(2)
    )
    assert one == other
    assert [draw(figure) for figure in one[::3]] == [draw(figure) for figure in other[::3]]


def test_datasets_have_trials_and_curves_of_their_own() -> None:
    report = make_report(make_dataset_results(normal()))
    curves = [figure.name for figure in report.figures if isinstance(figure, CurvePanels)]
    assert curves == [
        f"{dataset}_training_{family}"
        for dataset in ("cifar10", "cifar100", "tiny_imagenet")
        for family in ("lkca", "vit")
    ]
    assert {cell.cell for cell in report.curves} == {cell.key for cell in make_dataset_results(None).cells}


def runs(results: SearchResults, server: str | None) -> MlflowRuns:
    records = (*results.trials, *results.replicates)
    return MlflowRuns(
        experiment="7", server=server, ids={record.trial_id: f"{index:032x}" for index, record in enumerate(records)}
    )


def test_rows_link_to_the_runs_on_a_server() -> None:
    known = runs(SEARCHED, "https://tracking.example")
    page = to_html(make_report(SEARCHED, runs=known), source="")
    for record in (SEARCHED.trials[1], SEARCHED.replicates[0]):
        run_id = known.ids[record.trial_id]
        assert f'<a href="https://tracking.example/#/experiments/7/runs/{run_id}">{run_id}</a>' in page
    best = f"{known.page(SEARCHED.trials[1].trial_id)}"
    assert page.count(f'<a href="{best}">') >= 2, "also in the tables of frozen configurations and of Pareto fronts"


def test_a_store_on_a_disk_is_named_by_a_command_and_hover_texts_have_the_run() -> None:
    known = runs(SEARCHED, None)
    report = make_report(SEARCHED, runs=known)
    (table,) = (table for table in report.tables if table.name == "mlflow_runs")
    assert "`lkca-search ui made` opens MLflow" in table.caption
    assert "/#/experiments/7/runs/" in table.caption
    assert [row[-1].text for row in table.rows[:2]] == [
        known.ids[SEARCHED.trials[1].trial_id],
        known.ids[SEARCHED.replicates[0].trial_id],
    ]
    assert all(cell.link is None for row in table.rows for cell in row)
    every = SEARCHED.trials[0]
    labels = [
        line.label for figure in report.figures if isinstance(figure, ParallelCoordinates) for line in figure.lines
    ]
    assert f"{every.trial_id}, MLflow run {known.ids[every.trial_id]}" in labels
    hovers = [
        curve.label
        for figure in report.figures
        if isinstance(figure, CurvePanels)
        for panel in figure.panels
        for curve in panel.curves
    ]
    assert f"trial 0, MLflow run {known.ids[every.trial_id]}" in hovers


def test_without_known_runs_there_is_no_word_of_them() -> None:
    report = make_report(SEARCHED, runs=NO_RUNS)
    assert "mlflow_runs" not in {table.name for table in report.tables}
    assert "MLflow run" not in to_html(report, source="").split("<main>")[1].split("const MULTIPLES")[0]


@pytest.mark.parametrize(("trials", "extent"), [(3, "with those of all trials"), (MAX_RUNS, "for this table only")])
def test_the_table_of_runs_states_its_extent(trials: int, extent: str) -> None:
    results = make_search_results(None, families=("lkca",), fractions=(0.1,), trials=3)
    results = replace(results, trials=[*results.trials, *results.trials[:1] * (trials - 3 + (trials > 3))])
    (table,) = (table for table in make_report(results, runs=runs(results, None)).tables if table.name == "mlflow_runs")
    assert extent in table.caption
