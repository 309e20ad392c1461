"""All Parquet tables of a search, as `export` writes them."""

from lkca_search.analysis.predictions.prediction_analysis import search_prediction_rows
from lkca_search.analysis.search_results import read_search_results
from lkca_search.layout import SearchFolder
from lkca_search.paths import AnyPath
from lkca_search.records.finding import DamagedError, Finding
from lkca_search.records.inspection.kernel_table import write_kernels
from lkca_search.records.predictions import write_predictions
from lkca_search.records.record import RecordReader
from lkca_search.records.tables import write_rows, write_tables


def write_all_tables(folder: SearchFolder, to: AnyPath) -> tuple[list[AnyPath], list[Finding]]:
    """Write the tables of a search into `to`; return their paths, and the damaged files that they leave out."""
    reader = RecordReader(folder)
    with reader.listed_once():
        trials, replicates = reader.trials(), reader.replicates()
    paths = write_tables(trials, replicates, to)
    damaged: list[Finding] = []
    paths += write_predictions(folder, replicates, to, damaged=damaged)
    paths += write_kernels(folder, replicates, to, damaged=damaged)
    if replicates:
        paths += _write_prediction_numbers(folder, to, damaged)
    return paths, [*reader.findings, *damaged]


def _write_prediction_numbers(folder: SearchFolder, to: AnyPath, damaged: list[Finding]) -> list[AnyPath]:
    """Write the tables of numbers from predictions; without an intact spec or round, there are none."""
    try:
        results = read_search_results(folder)
    except DamagedError as error:
        damaged.append(error.finding)
        return []
    return write_rows(search_prediction_rows(results), to)
