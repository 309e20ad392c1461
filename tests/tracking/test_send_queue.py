import threading
import time
from collections.abc import Iterator

from lkca_search.tracking.send_queue import PendingUpdate, SendQueue
from tests.support.tracking.recorded import make_record, make_result, start_of

A, B, C = (start_of(make_record(trial_id)) for trial_id in ("a/0", "b/0", "c/0"))


def take(queue: SendQueue) -> tuple[str, list[int]] | str | None:
    update = queue.take()
    return (update.start.trial_id, list(update.results)) if isinstance(update, PendingUpdate) else update


def test_all_pending_results_of_a_trial_are_taken_together() -> None:
    queue = SendQueue()
    queue.add_start(A)
    for step in (1, 2, 3):
        queue.add_result("a/0", make_result(step))
    assert take(queue) == ("a/0", [1, 2, 3])
    queue.add_result("a/0", make_result(4))
    assert take(queue) == ("a/0", [4])


def test_new_trials_go_first_then_the_trial_that_has_waited_longest() -> None:
    queue = SendQueue()
    for start in (A, B):
        queue.add_start(start)
        queue.take()
    for trial_id in ("b/0", "a/0", "b/0"):
        queue.add_result(trial_id, make_result(1))
    queue.add_start(C)
    assert [take(queue) for _ in range(3)] == [("c/0", []), ("b/0", [1]), ("a/0", [1])]


def test_running_and_finished_trials_take_turns() -> None:
    queue = SendQueue()
    queue.add_finished(["x/0", "x/1"])
    for start in (A, B):
        queue.add_start(start)
    assert [take(queue), take(queue)] == [("a/0", []), "x/0"]
    queue.mark_sent("x/0")
    assert [take(queue), take(queue)] == [("b/0", []), "x/1"]
    assert take(queue) == "x/1"  # it stays in the queue until it is sent
    assert queue.unsent_trials == ("x/1",)


def test_a_requeued_update_goes_last_and_is_merged_with_newer_results() -> None:
    queue = SendQueue()
    for start in (A, B):
        queue.add_start(start)
        queue.add_result(start.trial_id, make_result(1))
    update = queue.take()
    assert isinstance(update, PendingUpdate)
    queue.add_result("a/0", make_result(2))
    queue.requeue(update)
    assert [take(queue), take(queue)] == [("b/0", [1]), ("a/0", [1, 2])]

    queue.add_finished(["x/0", "x/1"])
    assert queue.take() == "x/0"
    queue.requeue("x/0")
    assert queue.unsent_trials == ("x/1", "x/0")


def test_a_finished_trial_has_no_pending_updates() -> None:
    queue = SendQueue()
    queue.add_start(A)
    update = queue.take()
    assert isinstance(update, PendingUpdate)
    queue.add_result("a/0", make_result(1))
    queue.add_finished(["a/0"])
    queue.requeue(update)
    queue.add_result("a/0", make_result(2))
    assert queue.take_results("a/0") == []
    assert take(queue) == "a/0"
    queue.mark_sent("a/0")
    queue.close()
    assert queue.take() is None


def test_repeated_results_of_a_trial_are_queued_once() -> None:
    queue = SendQueue()
    for _ in range(50):
        queue.add_start(A)
        for step in range(1, 21):
            queue.add_result("a/0", make_result(step))
    assert [result.step for result in queue.take_results("a/0")] == list(range(1, 21))


def test_rechecking_queues_the_trials_that_the_store_lacks() -> None:
    queue = SendQueue()
    queue.add_finished(["x/0", "x/1", "x/2"])
    queue.mark_sent("x/0")
    queue.recheck_sent(lambda trial_id: trial_id == "x/1")
    assert set(queue.unsent_trials) == {"x/0", "x/2"}


def test_other_threads_do_not_wait_while_finished_trials_are_read_or_rechecked() -> None:
    queue = SendQueue()
    longest = 0.0

    def add_meanwhile(trial_id: str) -> None:
        nonlocal longest
        begun = time.perf_counter()
        calls = [
            threading.Thread(target=queue.add_start, args=(A,)),
            threading.Thread(target=queue.add_finished, args=([f"{trial_id}-meanwhile"],)),
        ]
        for call in calls:
            call.start()
        for call in calls:
            call.join(5)
            assert not call.is_alive()
        longest = max(longest, time.perf_counter() - begun)

    def read() -> Iterator[str]:
        for number in range(10):
            add_meanwhile(f"x/{number}")
            yield f"x/{number}"

    def is_sent(trial_id: str) -> bool:
        add_meanwhile(f"{trial_id}-checked")
        return trial_id == "x/3"

    queue.add_finished(read())
    queue.recheck_sent(is_sent)
    finished = {name for number in range(10) for name in (f"x/{number}", f"x/{number}-meanwhile")}
    assert set(queue.unsent_trials) == (finished | {f"{name}-checked-meanwhile" for name in finished}) - {"x/3"}
    assert longest < 1


def test_closing_ends_every_wait() -> None:
    queue = SendQueue()
    waits = [threading.Thread(target=queue.take), threading.Thread(target=queue.pause, args=(60,))]
    for wait in waits:
        wait.start()
    queue.close()
    for wait in waits:
        wait.join(5)
        assert not wait.is_alive()
