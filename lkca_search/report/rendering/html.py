"""A report as one page of HTML that holds all it needs: style, script, Plotly and data."""

import json
from importlib import resources

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from lkca_search import __version__
from lkca_search.report.rendering.interactive import plotly_json
from lkca_search.report.values.report import Report


def to_html(report: Report, *, source: str) -> str:
    """The page; `source` says where the numbers are from."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    figures = {figure.name: json.loads(plotly_json(figure)) for figure in report.figures}
    page: str = environment.from_string(_file("page.html")).render(
        report=report,
        source=source,
        version=__version__,
        style=Markup(_file("style.css")),
        script=Markup(_file("script.js")),
        plotly=Markup(get_plotlyjs()),
        figures=_script(figures),
        tables=_script({table.name: table.to_csv() for table in report.tables}),
    )
    return page


def _script(value: object) -> Markup:
    """A value as it may stand in a script: no text in it can end the script."""
    return Markup(json.dumps(value).replace("<", "\\u003c"))


def _file(name: str) -> str:
    return resources.files("lkca_search.report.rendering").joinpath("page", name).read_text(encoding="utf-8")
