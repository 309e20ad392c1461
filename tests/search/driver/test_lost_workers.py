"""Lines on trials that have lost their workers, with a clock of the test."""

from lkca_search.search.driver.lost_workers import LostWorkers


def test_the_cause_of_a_loss_is_whole_or_ends_after_a_word() -> None:
    """Ray nests its reasons, and gives the id of the actor first."""
    start = f"The actor {'f' * 40} is unavailable: The actor is temporarily unavailable: "
    for more, printed in (
        ("RpcError: RPC error: Socket closed rpc_code: 14. The task may or may not have been executed", "rpc_code: 14"),
        ("reason " * 40, "reason..."),
    ):
        lines: list[str] = []
        lost = LostWorkers(lines.append, clock=iter((0.0, 10.0, 10.0, 10.0)).__next__)
        lost.add("family=lkca/0", start + more)
        lost.flush()
        assert lines[0].endswith(printed)


def test_each_lost_worker_is_in_one_line_and_a_lost_node_is_one_line() -> None:
    lines: list[str] = []
    now = 0.0
    lost = LostWorkers(lines.append, clock=lambda: now)
    lost.flush()
    lost.add("family=lkca/0", "Traceback\nthe worker was killed")
    lost.flush()
    assert lines == [], "further losses of the same node may follow"
    now = 3.0
    lost.flush()
    lost.flush()
    assert lines == ["family=lkca/0 has lost its worker and resumes on another one; cause: the worker was killed"]
    for number in range(1, 6):
        lost.add(f"family=lkca/{number}", "the node died. Its id: 1")
    now = 20.0
    lost.flush()
    assert len(lines) == 1, "many losses are few lines"
    now = 40.0
    lost.flush()
    assert lines[1:] == [
        "5 trials have lost their workers and resume on others (family=lkca/1, family=lkca/2, family=lkca/3 and 2 "
        "more); cause: the node died"
    ]
