"""Working on several items at once, their results in order."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def parallel_map(function: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[Result]:
    """As ``map``, by several threads that work ahead of who takes the results.

    The caller's thread takes the items one after the other. At most ``2 * workers`` have been taken and not given back,
    so any number of them needs bounded memory. One worker is the caller's own thread, and nothing is done ahead. What
    ``function`` raises is raised when the turn of its item has come.
    """
    if workers == 1:
        yield from map(function, items)
        return
    pending: deque[Future[Result]] = deque()
    failure: Exception | None = None
    iterator = iter(items)
    threads: list[int] = []
    pool = ThreadPoolExecutor(workers, "jvcr", lambda: threads.append(threading.get_native_id()))
    try:
        while True:
            try:
                item = next(iterator)
            except StopIteration:
                break
            except Exception as error:  # its turn comes after the items taken before it
                failure = error
                break
            pending.append(pool.submit(function, item))
            if len(pending) == 2 * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
        if failure is not None:
            raise failure
    finally:
        pool.shutdown(cancel_futures=True)
        _wait_until_gone(threads)


def _wait_until_gone(threads: list[int], at_most: float = 1.0) -> None:
    """Waits until these threads, which Python has joined, have really ended.

    Up to Python 3.12 joining does not wait for that. As they end they hold a lock of OpenCV's, and a child that was
    forked meanwhile would wait for its copy for ever. Where the system does not say what threads there are, nothing is
    waited for.
    """
    deadline = time.monotonic() + at_most
    while any(os.path.exists(f"/proc/self/task/{thread}") for thread in threads) and time.monotonic() < deadline:
        time.sleep(0.0002)
