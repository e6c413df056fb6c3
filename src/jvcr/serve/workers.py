"""The threads that find landmarks, with the processes that decode for them, and how many images may wait."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from jvcr.serve.decode import Decoders
from jvcr.serve.limits import Limits, RefusedError

Result = TypeVar("Result")


class Workers:
    """So many threads, one for each image in work, and a bounded queue before them. Its methods are for one event loop.

    Attributes:
        decode: makes pixels of an encoded image; see `Decoders`.
        streams: how many WebSocket connections give them work.
    """

    def __init__(self, threads: int, limits: Limits) -> None:
        self.threads, self.limits = threads, limits
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="jvcr-serve")
        self.decode = Decoders(limits)
        self.streams = 0
        self._taken = 0
        self._mean_seconds = 0.1

    @property
    def waiting(self) -> int:
        """How many tasks wait for a thread."""
        return max(0, self._taken - self.threads)

    def check_room(self, tasks: int = 1) -> None:
        """Refuses so many tasks (503) where the queue has no room for them, and says when it will have."""
        if self._taken + tasks > self.threads + self.limits.max_waiting:
            seconds = max(1, math.ceil(self._taken * self._mean_seconds / self.threads))
            raise RefusedError(503, f"too many images are waiting; come again in {seconds} s", retry_after=seconds)

    async def run(self, function: Callable[[], Result]) -> Result:
        """What a function returns, called by one of the threads.

        Raises:
            RefusedError: 503, there are too many; 504, it was not done in time.
        """
        (result,) = await self.run_all([function])
        return result

    async def run_all(self, functions: Sequence[Callable[[], Result]]) -> list[Result]:
        """What several functions return, in their order; as `run`, or none of them is taken."""
        self.check_room(len(functions))
        loop = asyncio.get_running_loop()
        # All are taken before anyone else has a turn.
        futures = [self._submit(function, loop) for function in functions]
        results = asyncio.gather(*map(asyncio.wrap_future, futures))
        try:
            return list(await asyncio.wait_for(results, self.limits.max_seconds))
        except TimeoutError:  # those that wait for a thread are cancelled by this
            raise RefusedError(504, f"not done within {self.limits.max_seconds:g} s; come again") from None

    def warm_up(self) -> None:
        """Makes ready what the first image would wait for; nobody waits here."""
        self._pool.submit(self.decode.warm_up)

    def close(self) -> None:
        """Ends the processes at once, as nobody waits for an answer any more, and the threads when they are done."""
        self.decode.close()
        self._pool.shutdown(cancel_futures=True)

    def _submit(self, function: Callable[[], Result], loop: asyncio.AbstractEventLoop) -> Future[Result]:
        future = self._pool.submit(self._timed, function)
        self._taken += 1
        # A thread cannot be stopped: what runs late is counted until it ends.
        future.add_done_callback(lambda _: self._give_back(loop))
        return future

    def _timed(self, function: Callable[[], Result]) -> Result:
        start = time.perf_counter()
        try:
            return function()
        finally:
            self._mean_seconds += 0.1 * (time.perf_counter() - start - self._mean_seconds)

    def _give_back(self, loop: asyncio.AbstractEventLoop) -> None:
        def given_back() -> None:
            self._taken -= 1

        with contextlib.suppress(RuntimeError):  # the loop has ended: nobody counts any more
            loop.call_soon_threadsafe(given_back)
