"""A registration that is killed after any of its writes is completed by the same command, and nothing is doubled."""

import signal
from pathlib import Path

from lkca_search.paths import sqlite_url
from tests.support.tracking.confirmed import Registry, make_confirmed, read_registry, summarize, sync, write_search
from tests.support.tracking.killed import WRITES, kill_after

RESULTS = make_confirmed(draws=1)


def test_a_registration_killed_after_each_kind_of_write_is_completed_without_doubles(tmp_path: Path) -> None:
    killed = write_search(tmp_path / "killed", RESULTS)
    whole = write_search(tmp_path / "whole", RESULTS)
    assert kill_after(killed, WRITES) == [-signal.SIGKILL] * len(WRITES)
    for folder in (killed, whole):
        assert sync(folder).fault is None

    def found(root: Path) -> Registry:
        return read_registry(sqlite_url(root / "mlflow.db"))

    assert summarize(found(tmp_path / "killed")) == summarize(found(tmp_path / "whole"))
    assert len(found(tmp_path / "killed").versions) == len(RESULTS.replicates) == 2
