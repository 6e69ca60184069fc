"""Forked processes for the tests of stores that outlive a fork."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable


class Child:
    """A forked process that does ``work`` and ends."""

    def __init__(self, work: Callable[[], bool]) -> None:
        with warnings.catch_warnings():
            # Python 3.12 and later warn when threads are running.
            warnings.simplefilter("ignore", DeprecationWarning)
            self._pid = os.fork()
        if self._pid == 0:
            status = 1
            try:
                status = 0 if work() else 2
            finally:
                os._exit(status)

    def succeeded(self) -> bool:
        """Wait for its end; True when ``work`` said so."""
        return os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1]) == 0
