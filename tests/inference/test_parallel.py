"""Several items at once, their results in order."""

import threading
import time
from pathlib import Path

import pytest

from jvcr.inference.parallel import parallel_map


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_results_come_in_the_order_of_their_items(workers):
    def slow_first(i):
        time.sleep(0.02 if i % 3 == 0 else 0)
        return -i

    assert list(parallel_map(slow_first, range(20), workers)) == [-i for i in range(20)]


def test_workers_run_at_the_same_time():
    together = threading.Barrier(3, timeout=10)
    assert list(parallel_map(lambda _: together.wait() >= 0, range(6), 3)) == [True] * 6


def test_few_items_are_taken_ahead():
    taken = []
    results = parallel_map(str, (taken.append(i) or i for i in range(100)), 3)
    assert taken == []
    assert next(results) == "0"
    assert len(taken) == 6
    results.close()
    assert len(taken) == 6


@pytest.mark.parametrize("workers", [1, 3])
def test_an_error_comes_at_its_turn(workers):
    results = parallel_map(lambda i: 1 // (5 - i), range(20), workers)
    assert [next(results) for _ in range(5)] == [0, 0, 0, 0, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)


@pytest.mark.parametrize("workers", [1, 3])
def test_items_that_fail_come_after_those_before_them(workers):
    def items():
        yield from range(4)
        raise ValueError("the fifth")

    results = parallel_map(str, items(), workers)
    assert [next(results) for _ in range(4)] == ["0", "1", "2", "3"]
    with pytest.raises(ValueError, match="the fifth"):
        next(results)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="the system does not list threads")
def test_its_threads_have_ended_when_it_has():
    """A child that is forked while one ends would wait for what that one holds."""
    for _ in range(50):
        ids = set(parallel_map(lambda _: threading.get_native_id(), range(8), 3))
        assert not [thread for thread in ids if Path(f"/proc/self/task/{thread}").exists()]
