"""Working on several items at once, their results in order."""

from __future__ import annotations

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
    pool = ThreadPoolExecutor(workers, thread_name_prefix="jvcr")
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
