"""A part of a report: words, figures and tables under a heading."""

from dataclasses import dataclass

from lkca_search.report.values.figure import Drawing, HeatMap
from lkca_search.report.values.table import Table


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the report under a heading."""

    name: str
    title: str
    paragraphs: tuple[str, ...] = ()
    figures: tuple[Drawing, ...] = ()
    tables: tuple[Table, ...] = ()

    @property
    def plots(self) -> tuple[Drawing, ...]:
        """Figures that take the whole width."""
        return tuple(figure for figure in self.figures if not isinstance(figure, HeatMap))

    @property
    def maps(self) -> tuple[Drawing, ...]:
        """Those that stand side by side."""
        return tuple(figure for figure in self.figures if isinstance(figure, HeatMap))
