"""Report and its sections: sentences, figures and tables under headings."""

from dataclasses import dataclass

from lkca_search.analysis.contrasts import Contrast
from lkca_search.report.values.figure import Drawing, HeatMap
from lkca_search.report.values.table import Table

Paragraph = tuple[str, str]
"""Subject and text of one paragraph of the methods."""


@dataclass(frozen=True, kw_only=True)
class Section:
    """Paragraphs, figures and tables under one heading."""

    name: str
    title: str
    paragraphs: tuple[str, ...] = ()
    figures: tuple[Drawing, ...] = ()
    tables: tuple[Table, ...] = ()

    @property
    def plots(self) -> tuple[Drawing, ...]:
        """Figures that take the full width of the page."""
        return tuple(figure for figure in self.figures if not isinstance(figure, HeatMap))

    @property
    def heat_maps(self) -> tuple[Drawing, ...]:
        """Figures that the page shows side by side."""
        return tuple(figure for figure in self.figures if isinstance(figure, HeatMap))


@dataclass(frozen=True, kw_only=True)
class Report:
    """Report of one search and, if the search is confirmed, of one of its rounds."""

    search: str
    """Name of the search."""
    round: int | None
    """Number of the reported round; None if nothing is confirmed."""
    headline: str
    summary: tuple[str, ...]
    """Paragraphs of results, computed from the numbers of the report."""
    caveats: tuple[str, ...]
    """Paragraphs on missing trials, unequal budgets and other limits of the numbers."""
    sections: tuple[Section, ...]
    methods: tuple[Paragraph, ...]
    contrasts: tuple[Contrast, ...]

    @property
    def tables(self) -> list[Table]:
        """Tables of all sections."""
        return [table for section in self.sections for table in section.tables]

    @property
    def figures(self) -> list[Drawing]:
        """Figures of all sections."""
        return [figure for section in self.sections for figure in section.figures]

    def mlflow_metrics(self) -> dict[str, float]:
        """Return the difference of each contrast, in points, by a name that MLflow accepts."""
        return {
            f"difference {_plain(contrast.reference)} - {_plain(contrast.other)} at {contrast.num_train_images}": (
                contrast.paired.difference.value
            )
            for contrast in self.contrasts
        }


def _plain(label: str) -> str:
    """Return a label with only the characters that MLflow allows in the name of a metric."""
    return "".join(char if char.isalnum() or char in "_-. /" else " " for char in label)
