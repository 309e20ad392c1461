"""Report as one HTML page that loads nothing: style, scripts, Plotly and data are in the file."""

import base64
import json
import re
from importlib import resources

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape
from plotly.offline import get_plotlyjs

from lkca_search import __version__
from lkca_search.reporting.rendering.curve_panels import panels_data
from lkca_search.reporting.rendering.interactive import plotly_json
from lkca_search.reporting.rendering.multiples import multiples_data
from lkca_search.reporting.rendering.parallel import parallel_data
from lkca_search.reporting.values.figure import Figure, SmallMultiples, color_of
from lkca_search.reporting.values.panels import CurvePanels, ParallelCoordinates
from lkca_search.reporting.values.report import Report
from lkca_search.reporting.values.table import Table

_INTERVAL = re.compile(r"\[[^][]*\]")
_CODE = re.compile(r"`([^`]+)`")
_SCRIPTS = ("panels.js", "parallel.js", "script.js")


def to_html(report: Report, *, source: str) -> str:
    """Return the page of a report; its footer has `source` as the origin of the numbers."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {
        "png_url": _png_url,
        "column_classes": _column_classes,
        "keep": _keep_intervals,
        "code": _mark_code,
        "color": color_of,
        "to_script": _to_script,
    }
    figures, multiples, panels, parallel, empty = {}, {}, {}, {}, {}
    if report.answer.figure:
        figures["answer-figure"] = json.loads(plotly_json(report.answer.figure))
    for figure in (figure for top in report.sections for section in top.every() for figure in section.figures):
        match figure:
            case SmallMultiples():
                multiples[figure.name] = multiples_data(figure)
            case CurvePanels():
                panels[figure.name] = panels_data(figure)
            case ParallelCoordinates():
                parallel[figure.name] = parallel_data(figure)
            case Figure() if figure.is_empty:
                empty[figure.name] = figure.if_empty
            case _:
                figures[figure.name] = json.loads(plotly_json(figure))
    page: str = environment.from_string(_read_page_file("page.html")).render(
        report=report,
        source=source,
        version=__version__,
        style=Markup(_read_page_file("style.css")),
        script=Markup("\n".join(map(_read_page_file, _SCRIPTS))),
        plotly=Markup(get_plotlyjs()),
        figures=figures,
        multiples=multiples,
        panels=panels,
        parallel=parallel,
        empty=empty,
        tables={table.name: table.to_csv() for table in report.tables},
    )
    return page


def _png_url(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _keep_intervals(text: str) -> str:
    """Return a text whose intervals are never broken into two lines."""
    return _INTERVAL.sub(lambda found: found[0].replace(" ", "\N{NO-BREAK SPACE}"), text)


def _mark_code(text: str) -> Markup:
    """Return a text as HTML, with the parts between backticks as code."""
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(text))))


def _column_classes(table: Table) -> list[Markup]:
    """Return the attribute with the classes of each column; empty for a plain one."""
    classes = [
        " ".join(
            name
            for name, holds in {
                "key": column < table.num_keys,
                "second": 0 < column < table.num_keys,
                "number": table.is_numeric[column],
                "long-text": not table.is_numeric[column] and table.has_long_texts(column),
            }.items()
            if holds
        )
        for column in range(len(table.columns))
    ]
    return [Markup(f' class="{names}"' if names else "") for names in classes]


def _to_script(value: object) -> Markup:
    """Return a value as JSON for a script element.

    `<` is escaped: otherwise a text that contains `</script>` would end the element.
    """
    return Markup(json.dumps(value).replace("<", "\\u003c"))


def _read_page_file(name: str) -> str:
    return resources.files("lkca_search.reporting.rendering").joinpath("page", name).read_text(encoding="utf-8")
