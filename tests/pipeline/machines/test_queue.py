"""Every piece is done once, whoever is lost on the way."""

import logging

import pytest

from fdet.cache.errors import FdetError, InputError, StorageError
from fdet.pipeline.machines.queue import TRIES, GivenUp, WorkQueue
from fdet.pipeline.machines.workers import Lost, Ready

from .fake import FakeCrew


def finished(queue, max_tasks=100):
    """All results; each step is a moment."""
    found = []
    for _ in range(max_tasks):
        if not queue.left:
            return found
        found += queue.step()
    raise AssertionError(f"still waiting: {queue.waiting}, {queue.in_hand}")


def queue_of(workers, count=10, **more):
    queue = WorkQueue(workers, **more)
    queue.waiting.extend(range(count))
    return queue


def numbers(found):
    return [task for task, _ in found]


def test_every_piece_is_done_once_and_by_all_workers():
    workers = FakeCrew(room=3)
    found = finished(queue_of(workers, 9))
    assert sorted(numbers(found)) == list(range(9))
    assert {worker for worker, _ in workers.given} == {0, 1, 2}


def test_no_more_workers_are_hired_than_there_is_work():
    workers = FakeCrew(room=50)
    finished(queue_of(workers, 4))
    assert len(workers.alive) == 4


def test_a_worker_that_comes_later_is_given_work():
    workers = FakeCrew(room=1)
    queue = queue_of(workers, 10)
    for _ in range(3):
        queue.step()
    workers.room = 3
    finished(queue)
    assert {worker for worker, _ in workers.given} == {0, 1, 2}


def test_the_pieces_of_a_lost_worker_go_to_another_first(caplog):
    def work(worker, tasks):
        return "its node died" if worker == 0 else None

    workers = FakeCrew(room=2, work=work)
    with caplog.at_level(logging.WARNING):
        found = finished(queue_of(workers, 6))
    assert sorted(numbers(found)) == list(range(6))
    (lost,) = [tasks for worker, tasks in workers.given if worker == 0]
    assert lost in [tasks for worker, tasks in workers.given[2:4]]
    assert "its node died" in caplog.text


def test_blocks_are_large_while_much_is_left_and_single_pieces_in_the_end():
    workers = FakeCrew(room=2)
    finished(queue_of(workers, 100, max_tasks=8))
    sizes = [len(tasks) for _, tasks in workers.given]
    assert sizes[0] == 8 and sizes[-1] == 1
    assert sum(sizes) == 100 and sizes == sorted(sizes, reverse=True)


def test_what_a_lost_worker_had_done_is_not_done_again():
    done = set()

    def work(worker, tasks):
        done.update(tasks[:2] if worker == 0 else tasks)
        return "killed" if worker == 0 else None

    workers = FakeCrew(room=2, work=work)
    queue = queue_of(workers, 40, max_tasks=4, is_done=lambda task: task in done)
    found = finished(queue)
    (lost,) = [tasks for worker, tasks in workers.given if worker == 0]
    assert len(lost) == 4
    assert sorted(numbers(found)) == list(range(40))
    given_again = [task for worker, tasks in workers.given if worker != 0 for task in tasks]
    assert not set(lost[:2]) & set(given_again) and set(lost[2:]) <= set(given_again)


def test_a_piece_that_kills_its_workers_is_given_up_and_the_others_are_done():
    def work(worker, tasks):
        return "out of memory" if 3 in tasks else None

    workers = FakeCrew(room=2, work=work)
    found = finished(queue_of(workers, 6))
    (given_up,) = [result for result in found if isinstance(result, GivenUp)]
    assert given_up == GivenUp(3, "out of memory")
    assert sum(tasks == [3] for _, tasks in workers.given) == TRIES
    assert sorted(r[0] for r in found if r != given_up) == [0, 1, 2, 4, 5]


def test_a_disk_that_refuses_may_do_later():
    refused = []

    def work(worker, tasks):
        if tasks == [1] and len(refused) < 2:
            refused.append(worker)
            return StorageError("no room")
        return None

    found = finished(queue_of(FakeCrew(room=1, work=work), 3))
    assert sorted(numbers(found)) == [0, 1, 2] and len(refused) == 2


def test_what_the_user_has_to_mend_ends_it_at_once():
    workers = FakeCrew(work=lambda worker, tasks: InputError("no such folder"))
    with pytest.raises(InputError, match="no such folder"):
        finished(queue_of(workers, 5))


def test_workers_that_cannot_begin_are_not_hired_for_ever():
    workers = FakeCrew(begins=lambda worker: Lost(worker, "No module named 'fdet'"))
    with pytest.raises(FdetError, match=r"no worker can start: .*No module named 'fdet'"):
        finished(queue_of(workers, 5))
    assert not workers.given


def test_one_node_on_which_none_can_begin_does_not_end_what_others_do():
    workers = FakeCrew(room=3, begins=lambda k: Lost(k, "no driver") if k % 3 else Ready(k))
    assert sorted(numbers(finished(queue_of(workers, 40)))) == list(range(40))
    assert {worker % 3 for worker, _ in workers.given} == {0}


def test_losing_those_that_have_nothing_to_do_is_no_reason_to_end():
    workers = FakeCrew(room=1)
    queue = queue_of(workers, 0)
    for _ in range(2 * TRIES):
        while not queue.idle:
            queue.step()
        workers.lose(queue.idle[0])
        queue.step(giving=False)
    queue.waiting.append(7)
    assert numbers(finished(queue)) == [7]


def test_who_wishes_to_leave_gets_what_is_done_and_nothing_begins():
    workers = FakeCrew(room=2, slow=True, work=lambda worker, tasks: [(tasks[0], "half")])
    queue = queue_of(workers, 40, max_tasks=4)
    queue.step()
    assert queue.step() == []
    held = [tasks for _, tasks in workers.given]
    assert list(queue.in_hand.values()) == held and [len(tasks) for tasks in held] == [4, 4]
    workers.stop()
    found = []
    while queue.in_hand:
        found += queue.step(giving=False)
    assert sorted(numbers(found)) == [tasks[0] for tasks in held] and len(workers.given) == 2
    assert sorted([*numbers(found), *queue.waiting]) == list(range(40))


def test_how_far_they_are_is_counted_for_what_is_in_hand_alone():
    workers = FakeCrew(room=2, slow=True)
    queue = queue_of(workers, 40, max_tasks=4)
    queue.step()
    queue.step()
    assert queue.counted == 8
    workers.slow = False
    finished(queue)
    assert queue.counted == 0
