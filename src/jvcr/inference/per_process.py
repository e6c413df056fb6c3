"""What lives in one process alone: locks, and what owns threads."""

from __future__ import annotations

import ctypes
import os
import threading
import weakref
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import cv2

Value = TypeVar("Value")

_ALL: weakref.WeakSet[PerProcess[Any]] = weakref.WeakSet()


class PerProcess(Generic[Value]):
    """Gives a value that is made when it is first asked for, once in each process.

    A forked child has none of its parent's threads, and may have copied a lock while it was held: it makes its own
    value. So does who gets a copy or unpickles it: what is copied is ``make``.
    """

    def __init__(self, make: Callable[[], Value]) -> None:
        self._make = make
        self._start()
        _ALL.add(self)

    def _start(self) -> None:
        self._lock = threading.Lock()
        self._made: tuple[Value] | None = None

    def __call__(self) -> Value:
        """The value of this process."""
        if self._made is None:
            with self._lock:
                if self._made is None:
                    self._made = (self._make(),)
        return self._made[0]

    def __reduce__(self) -> tuple[Any, ...]:
        return PerProcess, (self._make,)


def _renew() -> None:
    for value in list(_ALL):
        if value._made is not None:
            # Taking an ONNX Runtime session down waits for its threads, which the child does not have: it stays.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(value._made))
        value._start()
    # OpenCV's one pool of threads cannot be renewed, and its lock may have been copied while it was held: only a child
    # that works without the pool never waits for it. Zero, since for one OpenCV would take that lock.
    cv2.setNumThreads(0)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)
