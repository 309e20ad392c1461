"""Predictions of all replicates of a search as one pandas data frame."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lkca_search.layout import SearchFolder
from lkca_search.records.finding import READ_THREADS, DamagedError, Finding
from lkca_search.records.predictions import Predictions, read_predictions
from lkca_search.records.record import Record


def predictions_frame(folder: SearchFolder, replicates: Sequence[Record]) -> tuple[pd.DataFrame, list[Finding]]:
    """Return the predictions of replicates, one row per replicate and test image, and a finding per damaged file.

    The columns are cell, replicate_id, image, label, predicted and probabilities; the first two are categories.
    """

    def read(record: Record) -> Predictions | Finding | None:
        try:
            return read_predictions(folder, record)
        except DamagedError as error:
            return error.finding

    with ThreadPoolExecutor(READ_THREADS) as pool:
        read_all = list(zip(replicates, pool.map(read, replicates), strict=True))
    findings = [each for _, each in read_all if isinstance(each, Finding)]
    intact = [(record, each) for record, each in read_all if isinstance(each, Predictions)]
    counts = [len(each.labels) for _, each in intact]

    def repeated(values: list[str]) -> pd.Categorical:
        names = list(dict.fromkeys(values))
        codes = np.repeat([names.index(value) for value in values], counts)
        return pd.Categorical.from_codes(codes.astype(np.int32), names)

    def joined(name: str) -> NDArray[np.uint16]:
        return np.concatenate([np.empty(0, np.uint16), *(getattr(each, name) for _, each in intact)])

    columns = {
        "cell": repeated([record.cell for record, _ in intact]),
        "replicate_id": repeated([record.trial_id for record, _ in intact]),
        "image": np.concatenate([np.empty(0, np.int32), *(np.arange(count, dtype=np.int32) for count in counts)]),
        "label": joined("labels"),
        "predicted": joined("predicted"),
        "probabilities": pd.Series([row for _, each in intact for row in each.probabilities], dtype=object),
    }
    return pd.DataFrame(columns), findings
