import threading
import time
from collections.abc import Iterator

from lkca_search.tracking.send_queue import PendingUpdate, SendQueue
from tests.support.tracking.recorded import make_record, make_result, start_of

A, B, C = (start_of(make_record(trial_id)) for trial_id in ("a/0", "b/0", "c/0"))


def taken(outbox: SendQueue) -> tuple[str, list[int]] | str | None:
    news = outbox.take()
    return (news.start.trial_id, list(news.results)) if isinstance(news, PendingUpdate) else news


def test_what_a_trial_says_is_taken_at_once() -> None:
    outbox = SendQueue()
    outbox.start(A)
    for step in (1, 2, 3):
        outbox.report("a/0", make_result(step))
    assert taken(outbox) == ("a/0", [1, 2, 3])
    outbox.report("a/0", make_result(4))
    assert taken(outbox) == ("a/0", [4])


def test_a_new_trial_goes_first_and_then_whichever_has_waited_longest() -> None:
    outbox = SendQueue()
    for start in (A, B):
        outbox.start(start)
        outbox.take()
    for trial_id in ("b/0", "a/0", "b/0"):
        outbox.report(trial_id, make_result(1))
    outbox.start(C)
    assert [taken(outbox) for _ in range(3)] == [("c/0", []), ("b/0", [1]), ("a/0", [1])]


def test_live_news_and_finished_trials_take_turns() -> None:
    outbox = SendQueue()
    outbox.finish(["x/0", "x/1"])
    for start in (A, B):
        outbox.start(start)
    assert [taken(outbox), taken(outbox)] == [("a/0", []), "x/0"]
    outbox.mark_sent("x/0")
    assert [taken(outbox), taken(outbox)] == [("b/0", []), "x/1"]
    assert taken(outbox) == "x/1"  # due until it is sent
    assert outbox.unsent == ("x/1",)


def test_what_could_not_be_sent_waits_behind_the_rest_and_keeps_what_came_meanwhile() -> None:
    outbox = SendQueue()
    for start in (A, B):
        outbox.start(start)
        outbox.report(start.trial_id, make_result(1))
    news = outbox.take()
    assert isinstance(news, PendingUpdate)
    outbox.report("a/0", make_result(2))
    outbox.put_back(news)
    assert [taken(outbox), taken(outbox)] == [("b/0", [1]), ("a/0", [1, 2])]

    outbox.finish(["x/0", "x/1"])
    assert outbox.take() == "x/0"
    outbox.put_back("x/0")
    assert outbox.unsent == ("x/1", "x/0")


def test_of_a_finished_trial_its_id_alone_is_kept() -> None:
    outbox = SendQueue()
    outbox.start(A)
    news = outbox.take()
    assert isinstance(news, PendingUpdate)
    outbox.report("a/0", make_result(1))
    outbox.finish(["a/0"])
    outbox.put_back(news)
    outbox.report("a/0", make_result(2))
    assert outbox.results("a/0") == []
    assert taken(outbox) == "a/0"
    outbox.mark_sent("a/0")
    outbox.close()
    assert outbox.take() is None


def test_what_waits_of_a_trial_that_runs_is_at_most_its_curve() -> None:
    outbox = SendQueue()
    for _ in range(50):
        outbox.start(A)
        for step in range(1, 21):
            outbox.report("a/0", make_result(step))
    assert [result.step for result in outbox.results("a/0")] == list(range(1, 21))


def test_a_store_that_is_opened_decides_what_is_due() -> None:
    outbox = SendQueue()
    outbox.finish(["x/0", "x/1", "x/2"])
    outbox.mark_sent("x/0")
    outbox.check(lambda trial_id: trial_id == "x/1")
    assert set(outbox.unsent) == {"x/0", "x/2"}


def test_nobody_waits_while_what_is_finished_is_read_from_a_slow_disk_or_checked() -> None:
    outbox = SendQueue()
    longest = 0.0

    def tell_meanwhile(trial_id: str) -> None:
        nonlocal longest
        begun = time.perf_counter()
        calls = [
            threading.Thread(target=outbox.start, args=(A,)),
            threading.Thread(target=outbox.finish, args=([f"{trial_id}-meanwhile"],)),
        ]
        for call in calls:
            call.start()
        for call in calls:
            call.join(5)
            assert not call.is_alive()
        longest = max(longest, time.perf_counter() - begun)

    def read() -> Iterator[str]:
        for number in range(10):
            tell_meanwhile(f"x/{number}")
            yield f"x/{number}"

    def is_sent(trial_id: str) -> bool:
        tell_meanwhile(f"{trial_id}-checked")
        return trial_id == "x/3"

    outbox.finish(read())
    outbox.check(is_sent)
    finished = {name for number in range(10) for name in (f"x/{number}", f"x/{number}-meanwhile")}
    assert set(outbox.unsent) == (finished | {f"{name}-checked-meanwhile" for name in finished}) - {"x/3"}
    assert longest < 1


def test_closing_ends_every_wait() -> None:
    outbox = SendQueue()
    waits = [threading.Thread(target=outbox.take), threading.Thread(target=outbox.pause, args=(60,))]
    for wait in waits:
        wait.start()
    outbox.close()
    for wait in waits:
        wait.join(5)
        assert not wait.is_alive()
