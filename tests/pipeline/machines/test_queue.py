"""Every piece is done once, whoever is lost on the way."""

import logging

import pytest

from fdet.cache.errors import FdetError, InputError, StorageError
from fdet.pipeline.machines.crew import Lost, Ready
from fdet.pipeline.machines.queue import TRIES, GivenUp, WorkQueue

from .fake import FakeCrew


def finished(queue, most=100):
    """All results; each step is a moment."""
    found = []
    for _ in range(most):
        if not queue.left:
            return found
        found += queue.step()
    raise AssertionError(f"still waiting: {queue.waiting}, {queue.in_hand}")


def queue_of(crew, count=10, **more):
    queue = WorkQueue(crew, **more)
    queue.waiting.extend(range(count))
    return queue


def numbers(found):
    return [piece for piece, _ in found]


def test_every_piece_is_done_once_and_by_all_workers():
    crew = FakeCrew(room=3)
    found = finished(queue_of(crew, 9))
    assert sorted(numbers(found)) == list(range(9))
    assert {worker for worker, _ in crew.given} == {0, 1, 2}


def test_no_more_workers_are_hired_than_there_is_work():
    crew = FakeCrew(room=50)
    finished(queue_of(crew, 4))
    assert len(crew.alive) == 4


def test_a_worker_that_comes_later_is_given_work():
    crew = FakeCrew(room=1)
    queue = queue_of(crew, 10)
    for _ in range(3):
        queue.step()
    crew.room = 3
    finished(queue)
    assert {worker for worker, _ in crew.given} == {0, 1, 2}


def test_the_pieces_of_a_lost_worker_go_to_another_first(caplog):
    def work(worker, pieces):
        return "its node died" if worker == 0 else None

    crew = FakeCrew(room=2, work=work)
    with caplog.at_level(logging.WARNING):
        found = finished(queue_of(crew, 6))
    assert sorted(numbers(found)) == list(range(6))
    (lost,) = [pieces for worker, pieces in crew.given if worker == 0]
    assert lost in [pieces for worker, pieces in crew.given[2:4]]
    assert "its node died" in caplog.text


def test_blocks_are_large_while_much_is_left_and_single_pieces_in_the_end():
    crew = FakeCrew(room=2)
    finished(queue_of(crew, 100, most=8))
    sizes = [len(pieces) for _, pieces in crew.given]
    assert sizes[0] == 8 and sizes[-1] == 1
    assert sum(sizes) == 100 and sizes == sorted(sizes, reverse=True)


def test_what_a_lost_worker_had_done_is_not_done_again():
    done = set()

    def work(worker, pieces):
        done.update(pieces[:2] if worker == 0 else pieces)
        return "killed" if worker == 0 else None

    crew = FakeCrew(room=2, work=work)
    queue = queue_of(crew, 40, most=4, there=lambda piece: piece in done)
    found = finished(queue)
    (lost,) = [pieces for worker, pieces in crew.given if worker == 0]
    assert len(lost) == 4
    assert sorted(numbers(found)) == list(range(40))
    given_again = [piece for worker, pieces in crew.given if worker != 0 for piece in pieces]
    assert not set(lost[:2]) & set(given_again) and set(lost[2:]) <= set(given_again)


def test_a_piece_that_kills_its_workers_is_given_up_and_the_others_are_done():
    def work(worker, pieces):
        return "out of memory" if 3 in pieces else None

    crew = FakeCrew(room=2, work=work)
    found = finished(queue_of(crew, 6))
    (given_up,) = [result for result in found if isinstance(result, GivenUp)]
    assert given_up == GivenUp(3, "out of memory")
    assert sum(pieces == [3] for _, pieces in crew.given) == TRIES
    assert sorted(r[0] for r in found if r != given_up) == [0, 1, 2, 4, 5]


def test_a_disk_that_refuses_may_do_later():
    refused = []

    def work(worker, pieces):
        if pieces == [1] and len(refused) < 2:
            refused.append(worker)
            return StorageError("no room")
        return None

    found = finished(queue_of(FakeCrew(room=1, work=work), 3))
    assert sorted(numbers(found)) == [0, 1, 2] and len(refused) == 2


def test_what_the_user_has_to_mend_ends_it_at_once():
    crew = FakeCrew(work=lambda worker, pieces: InputError("no such folder"))
    with pytest.raises(InputError, match="no such folder"):
        finished(queue_of(crew, 5))


def test_workers_that_cannot_begin_are_not_hired_for_ever():
    crew = FakeCrew(begins=lambda worker: Lost(worker, "No module named 'fdet'"))
    with pytest.raises(FdetError, match=r"no worker can start: .*No module named 'fdet'"):
        finished(queue_of(crew, 5))
    assert not crew.given


def test_one_node_on_which_none_can_begin_does_not_end_what_others_do():
    crew = FakeCrew(room=3, begins=lambda k: Lost(k, "no driver") if k % 3 else Ready(k))
    assert sorted(numbers(finished(queue_of(crew, 40)))) == list(range(40))
    assert {worker % 3 for worker, _ in crew.given} == {0}


def test_losing_those_that_have_nothing_to_do_is_no_reason_to_end():
    crew = FakeCrew(room=1)
    queue = queue_of(crew, 0)
    for _ in range(2 * TRIES):
        while not queue.idle:
            queue.step()
        crew.lose(queue.idle[0])
        queue.step(giving=False)
    queue.waiting.append(7)
    assert numbers(finished(queue)) == [7]


def test_who_wishes_to_leave_gets_what_is_done_and_nothing_begins():
    crew = FakeCrew(room=2, slow=True, work=lambda worker, pieces: [(pieces[0], "half")])
    queue = queue_of(crew, 40, most=4)
    queue.step()
    assert queue.step() == []
    held = [pieces for _, pieces in crew.given]
    assert list(queue.in_hand.values()) == held and [len(pieces) for pieces in held] == [4, 4]
    crew.stop()
    found = []
    while queue.in_hand:
        found += queue.step(giving=False)
    assert sorted(numbers(found)) == [pieces[0] for pieces in held] and len(crew.given) == 2
    assert sorted([*numbers(found), *queue.waiting]) == list(range(40))


def test_how_far_they_are_is_counted_for_what_is_in_hand_alone():
    crew = FakeCrew(room=2, slow=True)
    queue = queue_of(crew, 40, most=4)
    queue.step()
    queue.step()
    assert queue.counted == 8
    crew.slow = False
    finished(queue)
    assert queue.counted == 0
