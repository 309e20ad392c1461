"""Report and its sections: sentences, figures and tables under headings."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from lkca_search.analysis.aggregate.aggregate import Aggregate
from lkca_search.analysis.contrasts import Contrast
from lkca_search.analysis.predictions.prediction_analysis import PredictionAnalysis
from lkca_search.analysis.trials.training_curves import CellCurves
from lkca_search.records.search.mlflow_runs import NO_RUNS, MlflowRuns
from lkca_search.reporting.values.figure import Drawing, Figure, Gallery, HeatMap
from lkca_search.reporting.values.table import Table

Paragraph = tuple[str, str]
"""Subject and text of one paragraph of the methods."""


@dataclass(frozen=True, kw_only=True)
class Section:
    """Paragraphs, figures and tables under one heading."""

    name: str
    title: str
    summary: tuple[str, ...] = ()
    """Results as a list, above everything else."""
    paragraphs: tuple[str, ...] = ()
    figures: tuple[Drawing, ...] = ()
    tables: tuple[Table, ...] = ()
    galleries: tuple[Gallery, ...] = ()
    subsections: tuple["Section", ...] = ()
    """Sections on one dataset, in a report of several."""

    @property
    def label(self) -> str:
        """Text of its link."""
        return self.title if self.subsections else self.name.rpartition("-")[2].capitalize()

    def every(self) -> Iterator["Section"]:
        """Yield the section and all sections in it, in the order of the page."""
        yield self
        for section in self.subsections:
            yield from section.every()

    def on_dataset(self, dataset: str, prefix: str) -> "Section":
        """Return a copy with the dataset in the titles of figures, tables and galleries, and `prefix` in the names."""
        return replace(
            self,
            name=f"{prefix}-{self.name}",
            figures=tuple(each.model_copy(update=_on_dataset(each, dataset, prefix)) for each in self.figures),
            tables=tuple(each.model_copy(update=_on_dataset(each, dataset, prefix)) for each in self.tables),
            galleries=tuple(each.model_copy(update=_on_dataset(each, dataset, prefix)) for each in self.galleries),
        )

    @property
    def plots(self) -> tuple[Drawing, ...]:
        """Figures that take the full width of the page."""
        return tuple(figure for figure in self.figures if not _is_small(figure))

    @property
    def small_plots(self) -> tuple[Drawing, ...]:
        """Figures that the page shows side by side."""
        return tuple(figure for figure in self.figures if _is_small(figure))


@dataclass(frozen=True, kw_only=True)
class Answer:
    """First screen of the page: three sentences, one figure and a table of a few means."""

    question: str
    """Sentence on what the search compares."""
    finding: str
    """Sentence on the result, with intervals."""
    limit: str
    """Sentence on the most severe limit of the result."""
    num_more_limits: int
    """Number of the other limits, which are listed below the first screen."""
    figure: Figure | None
    """Figure of the result; None if there is nothing to draw."""
    means: Table | None = None
    """Mean test scores of the best variants; None if nothing is compared, and with several datasets."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """Report of one search and, if the search is confirmed, of one of its rounds."""

    search: str
    """Name of the search."""
    round: int | None
    """Number of the reported round; None if nothing is confirmed."""
    answer: Answer
    headline: str
    summary: tuple[str, ...]
    """Paragraphs of results, computed from the numbers of the report."""
    caveats: tuple[str, ...]
    """Paragraphs on missing trials, unequal budgets and other limits of the numbers, the most severe first.

    The first sentence of each is complete without the others.
    """
    sections: tuple[Section, ...]
    methods: tuple[Paragraph, ...]
    contrasts: tuple[Contrast, ...]
    """Contrasts of all datasets."""
    curves: tuple[CellCurves, ...] = ()
    """Training curves of all cells."""
    runs: MlflowRuns = NO_RUNS
    """Runs in MLflow."""
    aggregate: Aggregate | None = None
    """Results over all datasets; None for a single dataset, and if they are not estimable."""
    predictions: Mapping[str | None, PredictionAnalysis] = field(default_factory=dict)
    """Numbers from the predictions on test images, by dataset; the key is None in a search of one dataset."""

    @property
    def tables(self) -> list[Table]:
        """Tables of all sections."""
        return [table for top in self.sections for section in top.every() for table in section.tables]

    @property
    def figures(self) -> list[Drawing]:
        """Figures with a result of all sections, and that of the first screen if no section has it."""
        every = (figure for top in self.sections for section in top.every() for figure in section.figures)
        figures = [figure for figure in every if not (isinstance(figure, Figure) and figure.is_empty)]
        first = self.answer.figure
        own = [first] if first and first.name not in {figure.name for figure in figures} else []
        return [*own, *figures]

    def mlflow_metrics(self) -> dict[str, float]:
        """Return the difference of each contrast, in its unit, by a name that MLflow accepts."""
        return {
            f"difference {_plain(contrast.reference)} - {_plain(contrast.other)} at {contrast.num_train_images}"
            f"{_plain(f' on {contrast.dataset}' if contrast.dataset else '')}": contrast.paired.difference.value
            for contrast in self.contrasts
        }


def _is_small(figure: Drawing) -> bool:
    return isinstance(figure, HeatMap) or (isinstance(figure, Figure) and figure.is_small)


def _on_dataset(item: Drawing | Table | Gallery, dataset: str, prefix: str) -> dict[str, str]:
    """Return the name and the title of a figure or table on one dataset."""
    return {"name": f"{prefix}_{item.name}", "title": f"{dataset}: {item.title}"}


def _plain(label: str) -> str:
    """Return a label with only the characters that MLflow allows in the name of a metric."""
    return "".join(char if char.isalnum() or char in "_-. /" else " " for char in label)
