"""Work shared out among processes: all of it is done, whatever becomes of one of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from itertools import islice
from typing import TypeVar

from helpers.machinery.files import LabError
from helpers.machinery.process import belong_to

Item, Result = TypeVar("Item"), TypeVar("Result")
MOST_DEATHS = 3  # of processes, without an item done in between
_LIBRARIES = ("OMP_NUM", "OPENBLAS_NUM", "MKL_NUM", "NUMBA_NUM", "VECLIB_MAXIMUM")
ONE_THREAD = {f"{library}_THREADS": "1" for library in _LIBRARIES}


def shared_out(
    work: Callable[[Item], Result], items: Sequence[Item], processes: int
) -> Iterator[Result]:
    """What `work` makes of each item, in any order; with one process, of this one.

    Each has one thread: more would only fight, and round differently. An item whose process is
    killed is done again. An error of `work`, and Ctrl-C, end all. Raises LabError where processes
    are killed again and again.
    """
    from threadpoolctl import threadpool_limits

    if processes == 1:
        with threadpool_limits(1):
            yield from map(work, items)
        return
    # The standard library's executor would run the caller's script anew.
    from joblib.externals.loky import BrokenProcessPool, ProcessPoolExecutor

    left, deaths = dict(enumerate(items)), 0
    while left:
        waiting = iter(left.copy().items())
        pool = ProcessPoolExecutor(
            processes, env=ONE_THREAD, initializer=belong_to, initargs=(os.getpid(),)
        )
        try:
            # The first item alone: in a new environment it compiles librosa's loops, and two
            # processes that compile at once spoil each other's cache.
            making = {pool.submit(work, item): number for number, item in islice(waiting, 1)}
            while making:
                for future in wait(making, return_when=FIRST_COMPLETED).done:
                    done = future.result()
                    deaths = 0
                    del left[making.pop(future)]
                    yield done
                # No more than can be done at once: a long queue cannot be stopped quietly.
                for number, item in islice(waiting, processes - len(making)):
                    making[pool.submit(work, item)] = number
        except BrokenProcessPool as error:
            deaths += 1
            if deaths == MOST_DEATHS:
                raise LabError(
                    "processes are killed again and again, perhaps for want of memory (each takes "
                    "0.4 GB); free some or take fewer, and run the same again: it goes on from here"
                ) from error
        finally:
            pool.shutdown(kill_workers=True)
