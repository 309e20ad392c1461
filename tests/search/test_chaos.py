"""A search that is killed again and again, at named points of its way: the short form of benchmarks/chaos.py."""

from pathlib import Path

import pytest

from tests.support.chaos.harness import ChaosSearch

pytestmark = pytest.mark.timeout(600)  # a whole search, on machines that may be busy


@pytest.mark.slow
def test_a_search_killed_between_its_commitments_is_exact(tmp_path: Path) -> None:
    with ChaosSearch(tmp_path / "chaos") as search:
        search.crash("inside:ask:3")
        search.crash("after:record:1")
        search.crash("before:projection:2")
        search.finish()
        assert search.broken() == []
        assert search.num_durable() > 0
        assert max(search.resumed_steps()) > 0


@pytest.mark.slow
def test_a_confirmation_killed_between_its_commitments_is_exact(tmp_path: Path) -> None:
    confirm = {"confirm__draws": "2", "confirm__seeds": "1"}
    with ChaosSearch(tmp_path / "alone", **confirm) as alone:
        alone.finish()
        assert alone.broken() == []
        undisturbed = alone.records()
        assert len(undisturbed) == 2 * 4 + 2 * 4, "trials and replicates"
    with ChaosSearch(tmp_path / "chaos", undisturbed=undisturbed, **confirm) as search:
        search.crash("inside:round:1")
        search.crash("after:round:1")
        search.crash("inside:record:3")
        search.finish()
        assert search.broken() == []
        assert search.num_durable() > 8
        assert {record.trial_id for record in search.records().values()} == undisturbed.keys()
