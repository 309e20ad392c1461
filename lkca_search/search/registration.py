"""Models of the confirmation of a search, as they are registered in MLflow."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

from lkca_search.layout import SearchFolder
from lkca_search.records.finding import READ_THREADS, DamagedError
from lkca_search.records.model_description import ModelDescription, model_folder, read_description
from lkca_search.records.record import Record, RecordReader, State
from lkca_search.records.rounds import Round, scan_rounds
from lkca_search.records.search.champions import choose_champions
from lkca_search.records.search.uid import uid_or_name
from lkca_search.records.stored_spec import read_spec
from lkca_search.spec.cells import cells, compared_cells
from lkca_search.spec.search_spec import SearchSpec
from lkca_search.tracking.registry.alias_names import name_aliases, name_champion, name_model
from lkca_search.tracking.registry.confirmed_models import ConfirmedModel, ConfirmedModels, ModelCards

if TYPE_CHECKING:
    from lkca_search.tracking.mlflow_store import MLflowStore


def register_confirmed(
    store: "MLflowStore", folder: SearchFolder, reader: RecordReader | None = None, *, again: bool = False
) -> Iterator[str]:
    """Register the kept models of all complete rounds of a search, as `register_models` does."""
    from lkca_search.tracking.registry.registrar import register_models  # it imports MLflow

    models = find_confirmed_models(folder, reader)
    if models is not None:
        yield from register_models(store, models, again=again)


def find_confirmed_models(folder: SearchFolder, reader: RecordReader | None = None) -> ConfirmedModels | None:
    """Return the kept models of the complete rounds of a search; None if there is none."""
    replicates = {record.trial_id: record for record in (reader or RecordReader(folder)).replicates()}
    rounds = [sealed for sealed in scan_rounds(folder)[0] if sealed.replicate_ids <= replicates.keys()]
    if not rounds:
        return None
    spec = read_spec(folder)
    names = name_aliases(cells(spec))
    seal_of = {trial_id: sealed.seal for sealed in reversed(rounds) for trial_id in sealed.replicate_ids}
    complete = [record for record in replicates.values() if record.state is State.COMPLETE]
    confirmed = [record for record in complete if record.trial_id in seal_of]
    with ThreadPoolExecutor(READ_THREADS) as pool:
        described = list(zip(confirmed, pool.map(partial(_describe, folder), confirmed), strict=True))
    models = [
        ConfirmedModel(
            record=record,
            name=name_model(names[record.cell], record),
            seal=seal_of[record.trial_id],
            folder=model_folder(folder, record),
            description=found,
        )
        for record, found in described
        if isinstance(found, ModelDescription)
    ]
    damage = [str(found) for _, found in described if isinstance(found, DamagedError)]
    if not models and not damage:
        return None
    kept = [model.record.trial_id for model in models]
    return ConfirmedModels(
        name=folder.name,
        uid=uid_or_name(folder),
        seal=rounds[-1].seal,
        damage=damage,
        models=models,
        write_cards=partial(_write_cards, folder, spec, rounds, kept),
    )


def _describe(folder: SearchFolder, record: Record) -> ModelDescription | DamagedError | None:
    try:
        return read_description(model_folder(folder, record))
    except DamagedError as error:
        return error
    except FileNotFoundError:
        return None


def _write_cards(
    folder: SearchFolder, spec: SearchSpec, rounds: Sequence[Round], kept: Sequence[str], model: str
) -> ModelCards:
    # Imported here, since the statistics take a second to import, and most runs of a search register nothing.
    from lkca_search.analysis.search_results import read_search_results
    from lkca_search.reporting.model_card import write_model_card, write_version_cards

    results = read_search_results(folder)
    champions = choose_champions(spec, results.replicates, rounds[-1], kept)
    compared = {cell.key: cell for cell in compared_cells(spec).values()}
    aliases = name_aliases(list(compared.values()))
    of_cells = {aliases[cell]: trial_id for cell, trial_id in champions.replicates.items()}
    of_datasets = {name_champion(level): champions.replicates[cell] for level, cell in champions.cells.items()}
    return ModelCards(
        search=write_model_card(
            results, rounds[-1], champions, aliases=aliases, champion_aliases=list(of_datasets), model=model
        ),
        replicates=write_version_cards(results, rounds, kept),
        aliases={**of_cells, **of_datasets},
    )
