"""Durations in pages, headers of space files and help texts: a thing has one duration, and the code has the same."""

import re
from pathlib import Path

import pytest

from lkca_search.search.driver.node_faults import EXCLUDED_SECONDS
from lkca_search.search.jobs.log_stream import RECONNECT_SECONDS
from lkca_search.search.planning.calibration import CALIBRATION_SECONDS
from lkca_search.search.ray_backend.autoscaler import RESPONSE_SECONDS
from lkca_search.search.search_driver import MLFLOW_SECONDS
from lkca_search.search.state.lease import DEFAULT_TIMING

ROOT = Path(__file__).parents[2]
PATTERNS = ("*.md", "Makefile", "docs/**/*.md", "search_spaces/*.yaml", "cluster/**/*.md", "lkca_search/cli/**/*.py")
TEXTS = {path: path.read_text("utf-8") for pattern in PATTERNS for path in sorted(ROOT.glob(pattern))}
NUMBERS = {"a": 1, "an": 1, "one": 1, "two": 2, "five": 5, "ten": 10}
UNITS = {"s": 1, "second": 1, "minute": 60, "hour": 3600}
DURATION = r"(\d+|an?|one|two|five|ten)[\s#]+(s|second|minute|hour)s?\b"


@pytest.mark.parametrize(
    ("seconds", "phrases"),
    [
        (300, ["quickstart takes _", "Does the program work on this machine\\? Takes _", "confirm\\. Takes _"]),
        (3600, ["small CIFAR-10 subsets\\? Runs on a laptop within _", "all with 45k parameters, within _"]),
        (7200, ["The second one runs on a laptop within _", "with 5% and 20% of the images, within _"]),
        (CALIBRATION_SECONDS, ["time a few configurations, for _", "configurations on this machine \\(about _"]),
        (
            DEFAULT_TIMING.ttl_seconds,
            ["may start _", "that machine, wait _", "the next driver waits _", "starts _ late"],
        ),
        (
            DEFAULT_TIMING.valid_seconds + DEFAULT_TIMING.ttl_seconds,
            ["did not respond for _", "file system blocks for more than _"],
        ),
        (EXCLUDED_SECONDS, ["not used for _", "After _ the node is used again"]),
        (MLFLOW_SECONDS, ["ends no later than _", "each model has _"]),
        (RESPONSE_SECONDS, ["starts no node for it within _"]),
        (RECONNECT_SECONDS, ["try to reconnect for _"]),
    ],
)
def test_a_thing_has_one_duration(seconds: float, phrases: list[str]) -> None:
    for phrase in phrases:
        pattern = phrase.replace(" ", r"[\s#]+").replace("_", DURATION)
        matches = [match for text in TEXTS.values() for match in re.findall(pattern, text)]
        assert {(NUMBERS.get(number) or int(number)) * UNITS[unit] for number, unit in matches} == {seconds}, phrase
