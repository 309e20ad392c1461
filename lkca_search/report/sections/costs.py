"""The section on what accuracy costs: Pareto fronts, importances, and what a search of another length would have "
"found.
"""

from collections.abc import Iterator, Sequence

from lkca_search.analysis.importance import EVALUATOR, Importance, compute_importances
from lkca_search.analysis.pareto import CostPoint, cost_points, pareto_front
from lkca_search.analysis.search_results import SearchResults
from lkca_search.report.sections.search_length import best_of_k_table
from lkca_search.report.values.figure import Figure, Series
from lkca_search.report.values.numbers import NO_VALUE, format_compact, format_count, format_percent
from lkca_search.report.values.report import Section
from lkca_search.report.values.table import Field, Table, number, text


def cost_section(results: SearchResults, *, seed: int) -> Section | None:
    """The section; None where no trial is complete."""
    offered = cost_points(results)
    if not offered:
        return None
    length = best_of_k_table(results)
    return Section(
        name="costs",
        title="Accuracy against cost",
        figures=(pareto_figure(offered),),
        tables=(
            pareto_table(offered),
            importance_table(compute_importances(results, seed=seed)),
            *([length] if length else []),
        ),
    )


def importance_table(found: Sequence[Importance]) -> Table:
    """How much each searched name matters in each cell."""
    names = list(dict.fromkeys(name for each in found for name, _ in each.shares))
    return Table(
        name="importances",
        title=f"Importances of what was searched ({EVALUATOR})",
        caption=(
            "Share of the variance of complete trials that each name explains within a cell, in percent, by "
            f"{EVALUATOR} (Hutter et al. 2014). Pruned trials do not count, which is a bias where a pruner was used."
        ),
        columns=("cell", "trials", *names, "why there is none"),
        rows=tuple(
            (
                text(each.cell),
                number(each.num_trials, f"{each.num_trials}"),
                *(_share(dict(each.shares).get(name)) for name in names),
                text(each.reason or ""),
            )
            for each in found
        ),
    )


def _share(share: float | None) -> Field:
    return text(NO_VALUE) if share is None else number(100 * share, format_percent(100 * share))


def pareto_table(found: Sequence[CostPoint]) -> Table:
    """The fronts of every size, over families, and that of images over all sizes."""
    rows = [_offer("training images", offer) for offer in pareto_front(found, "num_train_images")]
    for size in sorted({offer.num_train_images for offer in found}):
        own = [offer for offer in found if offer.num_train_images == size]
        rows += [_offer("parameters", offer) for offer in pareto_front(own, "num_parameters")]
        rows += [_offer("FLOPs", offer) for offer in pareto_front(own, "flops")]
    return Table(
        name="pareto",
        title="Pareto fronts",
        caption=(
            "The trials that no other beats in validation accuracy and in price. By training images: of all trials; "
            "by parameters and by the FLOPs of one image's forward pass: of those with as many training images."
        ),
        columns=("price", "training images", "family", "trial", "parameters", "FLOPs", "validation accuracy, %"),
        rows=tuple(rows),
    )


def _offer(price: str, offer: CostPoint) -> tuple[Field, ...]:
    return (
        text(price),
        number(offer.num_train_images, format_count(offer.num_train_images)),
        text(offer.family),
        text(offer.trial_id),
        number(offer.num_parameters, format_compact(offer.num_parameters)),
        number(offer.flops, format_compact(offer.flops)),
        number(offer.metric_value, format_percent(offer.metric_value)),
    )


def pareto_figure(found: Sequence[CostPoint]) -> Figure:
    """Accuracy against operations at the largest size, and the front of each family."""
    size = max(offer.num_train_images for offer in found)
    own = [offer for offer in found if offer.num_train_images == size]
    families = list(dict.fromkeys(offer.family for offer in found))
    return Figure(
        name="pareto_flops",
        title=f"Validation accuracy against operations, {format_count(size)} training images",
        caption=(
            "Every complete trial at the largest size of the data; lines join those of a family that no other of it "
            "beats in both. Operations are on a logarithmic axis."
        ),
        x_label="FLOPs of one image",
        y_label="validation accuracy, %",
        x_is_logarithmic=True,
        series=tuple(
            series
            for place, family in enumerate(families)
            for series in _family(place, family, [offer for offer in own if offer.family == family])
        ),
    )


def _family(place: int, family: str, own: Sequence[CostPoint]) -> Iterator[Series]:
    if not own:
        return
    best = pareto_front(own, "flops")
    yield Series(
        name=f"{family}, front",
        x=tuple(float(offer.flops) for offer in best),
        y=tuple(offer.metric_value for offer in best),
        kind="line",
        colour=place,
    )
    yield Series(
        name=family,
        x=tuple(float(offer.flops) for offer in own),
        y=tuple(offer.metric_value for offer in own),
        colour=place,
        notes=tuple(
            f"{offer.trial_id}: {format_percent(offer.metric_value)}%, {format_compact(offer.flops)} FLOPs, {format_compact(offer.num_parameters)} "
            "parameters"
            for offer in own
        ),
    )
