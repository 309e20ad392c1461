"""Duration, memory and size of the report of a large search.

Question:  10,000 trials of 20 results each, in 24 cells, confirmed by 5 draws x 2 seeds on 10,000 test images: is the
           report written within 60 s, in 2 GB of memory, and smaller than 15 MB? How long does pandas take to read the
           same data from Parquet, and how long do the numbers from predictions take?
Command:   python -m benchmarks.large_report [--trials 10000] [--images 10000] [--classes 10]
Expected:  all limits hold; otherwise exit code 1.

The records are made up, and stored like those of a real search. `report` runs in its own process.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from benchmarks.processes import command_line, measure
from lkca_search.analysis.predictions.prediction_analysis import search_prediction_rows
from lkca_search.analysis.search_results import read_search_results
from lkca_search.layout import Home, SearchFolder
from lkca_search.records.predictions import Predictions, save_predictions
from lkca_search.records.record import TestResult, read_records
from lkca_search.records.rounds import round_file
from lkca_search.reporting.files import PAGE
from tests.support.records import make_result
from tests.support.search_results import law, make_search_results

FAMILIES = ("lkca", "vit", "convmixer", "resnet")
FRACTIONS = (0.02, 0.05, 0.1, 0.25, 0.5, 1.0)
NUM_RESULTS = 20
MAX_SECONDS, MAX_BYTES, MAX_MEMORY = 60.0, 15_000_000, 2e9


def write_search(folder: SearchFolder, num_trials: int, *, num_images: int, num_classes: int) -> None:
    """Write the records of a search with `num_trials` trials, its round, its replicates and their predictions."""
    per_cell = num_trials // (len(FAMILIES) * len(FRACTIONS))
    search_results = make_search_results(
        law(lead=0.01), families=FAMILIES, fractions=FRACTIONS, trials=per_cell, search={"trials_per_cell": per_cell}
    )
    assert isinstance(folder.root, Path)
    (folder.root / "rounds").mkdir(parents=True)
    folder.root.joinpath("spec.json").write_text(search_results.spec.model_dump_json(by_alias=True))
    for sealed in search_results.rounds:
        (folder.root / "rounds" / round_file(sealed.number)).write_text(sealed.model_dump_json())
    curve = tuple(make_result(step, 0.5 + step / 1000) for step in range(1, NUM_RESULTS))
    for record in (*search_results.trials, *search_results.replicates):
        attempt = folder.root / "trials" / record.trial_id / "attempt-0001-0001"
        attempt.mkdir(parents=True)
        changes: dict[str, object] = {"curve": (*curve, record.curve[-1])}
        if record.test is not None:
            changes["test"] = record.test.model_copy(update={"num_images": num_images})
            predictions = make_predictions(record.spec.seed, record.test, num_images, num_classes)
            save_predictions(predictions, attempt, replicate_id=record.trial_id)
        longer = record.model_copy(update=changes)
        (attempt / "record.json").write_text(longer.model_dump_json())


def make_predictions(seed: int, test: TestResult, num_images: int, num_classes: int) -> Predictions:
    """Return predictions with the accuracy of a test result; difficult images are those of all replicates."""
    labels = np.arange(num_images) % num_classes
    generator = np.random.default_rng(seed)
    difficulty = np.random.default_rng(0).standard_normal(num_images) + generator.standard_normal(num_images)
    shift = np.where(np.argsort(np.argsort(difficulty)) < test.accuracy * num_images, 0, 1 + generator.integers(4))
    predicted = (labels + shift) % num_classes
    logits = generator.standard_normal((num_images, num_classes)).astype(np.float32)
    logits[np.arange(num_images), predicted] = 5 - difficulty
    exponentials = np.exp(logits)
    return Predictions(
        labels=labels.astype(np.uint16),
        predicted=predicted.astype(np.uint16),
        probabilities=(exponentials / exponentials.sum(axis=1, keepdims=True)).astype(np.float16),
        data_hash=test.data_hash,
    )


def time_predictions(folder: SearchFolder) -> tuple[float, float]:
    """Return the seconds that all results take to read, and those that the numbers from predictions take."""
    begun = time.perf_counter()
    results = read_search_results(folder)
    reading = time.perf_counter() - begun
    begun = time.perf_counter()
    search_prediction_rows(results)
    return reading, time.perf_counter() - begun


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--classes", type=int, default=10)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        folder = Home(root=Path(root)).search("large")
        write_search(folder, options.trials, num_images=options.images, num_classes=options.classes)
        begun = time.perf_counter()
        num_trials = len(read_records(folder))
        reading = time.perf_counter() - begun
        cost = measure(command_line("report", "large", "--no-mlflow"), variables={"LKCA_SEARCH_HOME": root})
        duration, memory = cost.seconds, float(cost.memory)
        reading_all, computing = time_predictions(folder)
        report = Path(str(folder.root)) / "report"
        begun = time.perf_counter()
        for name in ("trials", "curves"):
            pd.read_parquet(report / "data" / f"{name}.parquet")
        pandas = time.perf_counter() - begun
        page = (report / PAGE).stat().st_size
    table = Table("quantity", "measured", "allowed", title=f"{num_trials:,} trials of {NUM_RESULTS} results")
    table.add_row("report, s", f"{duration:.1f}", f"{MAX_SECONDS:g}")
    table.add_row("reading the records, s", f"{reading:.1f}", "")
    table.add_row("reading all results with predictions, s", f"{reading_all:.1f}", "")
    table.add_row("numbers from predictions, s", f"{computing:.1f}", "")
    table.add_row("memory of the report, GB", f"{memory / 1e9:.2f}", f"{MAX_MEMORY / 1e9:g}")
    table.add_row("pandas, same data from Parquet, s", f"{pandas:.2f}", "")
    table.add_row("ratio of the report to pandas", f"{duration / pandas:.0f}", "")
    table.add_row("page, MB", f"{page / 1e6:.1f}", f"{MAX_BYTES / 1e6:g}")
    Console(width=100).print(table)
    return 0 if duration <= MAX_SECONDS and page <= MAX_BYTES and memory <= MAX_MEMORY else 1


if __name__ == "__main__":
    sys.exit(main())
