"""Description of a search for the page of its run in MLflow: question, result, cells and links."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from lkca_search.faults import cut_text
from lkca_search.layout import SearchFolder
from lkca_search.records.record import RecordReader
from lkca_search.records.search.mlflow_runs import MAX_DESCRIPTION_CHARACTERS
from lkca_search.records.stored_spec import read_spec
from lkca_search.search.state.status import SearchStatus, read_status
from lkca_search.spec.cells import cells, compared_cells
from lkca_search.spec.configuration import SECTIONS
from lkca_search.spec.domains import Choice, Domain, Fixed
from lkca_search.spec.search_spec import SearchSpec
from lkca_search.tracking.registry.alias_names import name_aliases

if TYPE_CHECKING:
    from lkca_search.tracking.search_run.search_run import SearchContent, SearchRun

_MAX_QUESTION = 800
_MAX_CELLS = 200
"""Most cells with metrics of their own."""
_DESIGN = {
    "data": ("validation", "scale_validation", "image_size"),
    "training": ("min_steps", "max_steps", "reports", "patience", "deterministic"),
    "search": ("sampler", "pruner", "metric", "seed"),
}
"""Keys of the sections that are parameters: a resume changes none of them."""


def describe_search(folder: SearchFolder, reader: RecordReader, run: "SearchRun") -> "SearchContent":
    """Return the content of the run of a search in its present state, with the results of its latest complete round.

    The statistics of a round take seconds to import.
    """
    from lkca_search.tracking.search_run.search_run import SearchContent  # it imports MLflow

    spec, status = read_spec(folder), read_status(folder, reader)
    metrics = _metrics(spec, status)
    complete = [each.number for each in status.rounds if not each.num_left]
    confirmed: list[str] = []
    if complete:
        from lkca_search.analysis.search_results import read_search_results
        from lkca_search.reporting.search_card import write_confirmation

        card = write_confirmation(read_search_results(folder), complete[-1])
        confirmed = list(card.parts)
        aliases = name_aliases(list({cell.key: cell for cell in compared_cells(spec).values()}.values()))
        means = list(card.means.items())[:_MAX_CELLS]
        metrics |= {f"{card.test_metric}/{aliases[cell]}": mean for cell, mean in means}
    # MLflow's page shows the first four lines, and the rest after a click.
    links, question = _links(folder, run, spec, status), _question(folder)
    first = [*confirmed[:1], links, question] if confirmed else [question, links]
    parts = [*first, _progress(status), *confirmed[1:], *_cells(status)]
    return SearchContent(
        description=_fit([part for part in parts if part]), parameters=space_parameters(spec), metrics=metrics
    )


def space_parameters(spec: SearchSpec) -> dict[str, str]:
    """Return the searched space as text by name, and the settings of all trainings that a resume cannot change."""
    found = {name: ", ".join(map(str, factor.levels)) for name, factor in spec.factors.items()}
    found |= {name: _domain(domain) for name, domain in spec.parameters.items()}
    for name, section in {**SECTIONS, "dataset": "data"}.items():
        value = getattr(getattr(spec, section), name)
        if name not in found and value is not None:
            found[name] = _text(value)
    for section, names in _DESIGN.items():
        values = getattr(spec, section).model_dump(mode="json")
        found |= {f"{section}.{name}": _text(values[name]) for name in names if values.get(name) is not None}
    return {name: text for name, text in found.items() if text}


def _domain(domain: Domain) -> str:
    """Return the values of a parameter: `3, 5, 7 (family: lkca)`, `0.001 to 0.01, log` or `45000`."""
    if isinstance(domain, Choice | Fixed):
        text = ", ".join(map(str, domain.edges()))
    else:
        low, high = domain.bounds
        step = getattr(domain, "step", 1)
        text = f"{low:g} to {high:g}{f', step {step}' if step != 1 else ''}{', log' if domain.log else ''}"
    conditions = [f"{name}: {', '.join(map(str, values))}" for name, values in domain.when.items()]
    return f"{text} ({'; '.join(conditions)})" if conditions else text


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        inner = ", ".join(f"{key} {_text(item)}" for key, item in value.items() if key != "name")
        return f"{value.get('name', '')} {inner}".strip()
    return "+".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _metrics(spec: SearchSpec, status: SearchStatus) -> dict[str, float]:
    """Return the progress of a search, and the best value of each cell. Their prefix groups them on MLflow's page."""
    found = {"trials/finished": float(status.num_finished), "trials/failed": float(status.num_failed)}
    aliases = name_aliases(cells(spec))
    for cell in status.cells[:_MAX_CELLS]:
        if cell.best_value is not None:
            found[f"best {status.metric}/{aliases[cell.cell]}"] = cell.best_value
    return found


def _question(folder: SearchFolder) -> str:
    """Return the question in the comment at the top of the space file; empty if there is none."""
    text = ""
    with suppress(FileNotFoundError, IsADirectoryError):  # only information for the reader of the run
        text = folder.space_file.read_bytes().decode(errors="replace")
    question: list[str] = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        words = line.lstrip("#").split()
        if words and words[0] == "Question:":
            question = words[1:]
        elif question and words and words[0].endswith(":") and words[0].istitle():
            break  # the next key of the comment
        elif question:
            question += words
    return f"**Question of the space file:** {cut_text(' '.join(question), _MAX_QUESTION)}" if question else ""


def _progress(status: SearchStatus) -> str:
    failed = f", {status.num_failed:,} of them failed" if status.num_failed else ""
    parts = [f"{status.num_finished:,} of {status.num_planned:,} trials are finished{failed}."]
    if status.rounds:
        latest = status.rounds[-1]
        done = latest.complete + latest.failed
        parts.append(f"Confirmation, round {latest.number}: {done:,} of {latest.num_replicates:,} replicates.")
    elif status.is_to_be_confirmed:
        parts.append("The best configurations are confirmed on test images at the end.")
    return " ".join(parts)


def _cells(status: SearchStatus) -> list[str]:
    """Return the table of cells: the best trial of each by validation."""
    head = _row("cell", "training images", "trials", f"best {status.metric}", "trial")
    rows = [
        _row(
            cell.cell,
            "" if cell.num_train_images is None else f"{cell.num_train_images:,}",
            f"{cell.num_finished} of {cell.budget}",
            "" if cell.best_value is None else f"{cell.best_value:.4f}",
            "" if cell.best_trial is None else f"#{cell.best_trial.rpartition('/')[2]}",
        )
        for cell in status.cells
    ]
    return ["## Search, on validation images", "\n".join([head, _row(*["---"] * 5), *rows])]


def _row(*texts: str) -> str:
    return f"| {' | '.join(text.replace('|', '/') for text in texts)} |"


def _links(folder: SearchFolder, run: "SearchRun", spec: SearchSpec, status: SearchStatus) -> str:
    """Return links to the saved views and the report. A server that refuses the views has none."""
    from lkca_search.tracking.pages.saved_view import save_views
    from lkca_search.tracking.search_run.search_run import REPORT

    pages: dict[str, str] = {}
    with suppress(Exception):  # any error of a store: the description has no links
        pages = save_views(run, spec, search=folder.name, is_confirmed=bool(status.rounds))
    titles = {"trials": "all trials", "curves": "learning curves", "charts": "charts", "replicates": "replicates"}
    links = [f"[{title}]({pages[kind]})" for kind, title in titles.items() if kind in pages]
    if report := run.tags.get(REPORT):
        artifact = f"#/experiments/{run.experiment}/runs/{run.run_id}/artifacts/{report}"
        links.insert(0, f"[**report**]({artifact}?workflowType=machine_learning)")
    else:
        links.append(f"`lkca-search report {folder.name}` attaches the report")
    return " · ".join(links)


def _fit(parts: Sequence[str]) -> str:
    """Join parts by blank lines. Rows of tables that do not fit are left out from their end, with a line about it."""
    texts, num_cut = list(parts), 0
    while len(text := "\n\n".join(texts)) > MAX_DESCRIPTION_CHARACTERS - 100:
        longest = max(range(len(texts)), key=lambda index: texts[index].count("\n"))
        if texts[longest].count("\n") < 3:
            return cut_text(text, MAX_DESCRIPTION_CHARACTERS)
        texts[longest] = texts[longest].rpartition("\n")[0]
        num_cut += 1
    return f"{text}\n\n{num_cut} more rows of the tables are in the report." if num_cut else text
