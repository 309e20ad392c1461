"""Registration of the confirmed models of a search in MLflow, in steps that can be repeated after any interruption."""

from collections.abc import Iterator

from lkca_search.records.finding import DamagedError
from lkca_search.records.search.uid import SEARCH_UID
from lkca_search.tracking.faults import is_unsupported
from lkca_search.tracking.mlflow_store import MLflowStore
from lkca_search.tracking.registry.alias_names import CHAMPION
from lkca_search.tracking.registry.confirmed_models import ConfirmedModel, ConfirmedModels
from lkca_search.tracking.registry.logged_models import SEAL, WEIGHTS_SHA256, LoggedModels
from lkca_search.tracking.registry.registered_model import RegisteredModel
from lkca_search.tracking.runs import TRIAL_ID

_UNSUPPORTED = (
    "the store lacks logged models or a registry, which MLflow 3 has, so no model is registered; the runs are complete"
)
_DELETED = "the registered model of the search was deleted in MLflow and stays deleted; to register it again"


def register_models(store: MLflowStore, models: ConfirmedModels, *, again: bool = False) -> Iterator[str]:
    """Register the models that MLflow lacks. The runs of all replicates must have been sent.

    Nothing is read or written once all models of the latest round are registered, so what a user deletes then stays
    deleted. With `again`, what was deleted is registered again.

    Yields:
        After each step, a line for the user, which is mostly empty. A store without models gets one line.

    Raises:
        Exception: Any error of the store. The next call continues where this one ended.
    """
    try:
        yield from _register(store, models, again=again)
    except Exception as error:
        if not is_unsupported(error):
            raise
        yield _UNSUPPORTED


def _register(store: MLflowStore, models: ConfirmedModels, *, again: bool) -> Iterator[str]:
    registered = RegisteredModel(store.client, store.experiment, search=models.name, uid=models.uid)
    if registered.has_round(models.seal) and not again:
        if registered.is_missing:
            yield f"{_DELETED}: lkca-search sync {models.name} --register"
        return
    logged = LoggedModels(store.client, store.experiment, uid=models.uid)
    yield f"{len(models.models)} confirmed models are registered as {registered.name!r}"
    cards = models.write_cards(registered.name)
    yield ""
    registered.open()
    keys: dict[str, tuple[str, str]] = {}
    damage = list(models.damage)
    for model in models.models:
        trial_id, tags = model.record.trial_id, _tags(models, model)
        try:
            entity = logged.log(model, run_id=store.run_id(trial_id), tags=tags)
        except DamagedError as error:
            damage.append(str(error))
            continue
        registered.add(model.key, entity, card=cards.replicates[trial_id], tags=tags)
        keys[trial_id] = model.key
        yield ""
    registered.describe(cards.search)
    aliases = {alias: keys[trial_id] for alias, trial_id in cards.aliases.items() if trial_id in keys}
    registered.set_aliases(aliases)
    yield from (f"a model is not registered: {line}" for line in damage)
    if not damage:
        registered.mark_round(models.seal)
    if CHAMPION in aliases:
        yield f"the champion of the search is models:/{registered.name}@{CHAMPION}"


def _tags(models: ConfirmedModels, model: ConfirmedModel) -> dict[str, str]:
    record, description = model.record, model.description
    assert record.replicate is not None
    return {
        SEARCH_UID: models.uid,
        TRIAL_ID: record.trial_id,
        SEAL: model.seal,
        WEIGHTS_SHA256: description.weights_sha256,
        "search": models.name,
        "cell": record.cell,
        "draw": str(record.replicate.draw),
        "seed_number": str(record.replicate.seed),
        "dataset": record.spec.dataset,
        "num_train_images": str(description.num_train_images),
    }
