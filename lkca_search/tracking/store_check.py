"""Check of the MLflow store before a search. It changes nothing: a half-made database stays as it is."""

from mlflow import MlflowClient

from lkca_search.errors import SearchError
from lkca_search.layout import Home
from lkca_search.paths import sqlite_file
from lkca_search.tracking.connection import experiment_name, tracking_uri
from lkca_search.tracking.database import has_schema
from lkca_search.tracking.experiment import find_experiment, open_client
from lkca_search.tracking.faults import describe_fault


def check_store(home: Home) -> str:
    """Return the state of the MLflow store in words.

    Raises:
        SearchError: The store cannot be used; with the reason and the command that removes it.
    """
    try:
        uri = tracking_uri(home)
        file = sqlite_file(uri)
        if file is None:
            client = open_client(home).client
        elif not file.exists():
            return f"{file}, not made yet"
        elif not has_schema(file):
            return f"{file} is half-made; the next run makes it again"
        else:
            client = MlflowClient(tracking_uri=uri)
        found = find_experiment(client, home)
    except Exception as error:  # any error of a store
        raise SearchError(str(describe_fault(error, home))) from error
    return f"the store responds, experiment {experiment_name()!r}{'' if found else ' not made yet'}"
