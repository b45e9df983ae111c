"""Who makes the clips: this process, processes of this machine, or a Dask cluster.

Whatever happens to a worker, a batch is done again: its clips are written whole, and the same
whoever writes them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from functools import partial
from itertools import chain
from pathlib import Path

from helpers.machinery.files import LabError, one_line
from helpers.machinery.workers import shared_out
from tools.build_data.clip import Job, Row, Task, make_batch

BATCH = 8  # clips: seconds of work, so that an engine has little to say and little to lose
WAIT_SECONDS = 30  # for a scheduler to answer, and for a worker to be there


def make_clips(tasks: Sequence[Task], job: Job, workers: int, cluster: str | None) -> Iterator[Row]:
    """A row of each clip, in any order.

    Raises LabError where the engine gives up; what came before is made.
    """
    if not tasks:  # no cluster is asked for them
        return
    size = min(BATCH, -(-len(tasks) // (4 * workers)))
    batches = [tasks[first : first + size] for first in range(0, len(tasks), size)]
    work = partial(make_batch, job=job)
    made = _on_cluster(work, batches, cluster) if cluster else shared_out(work, batches, workers)
    yield from chain.from_iterable(made)


def _on_cluster(
    work: Callable[[Sequence[Task]], list[Row]], batches: Sequence[Sequence[Task]], cluster: str
) -> Iterator[list[Row]]:
    """The rows of each batch, by a Dask cluster; what goes wrong with it is one line."""
    try:
        import distributed
    except ImportError:
        raise LabError("--cluster needs Dask: pip install '.[cluster]'") from None
    for name in [*logging.root.manager.loggerDict]:
        if name.startswith("distributed"):
            logging.getLogger(name).setLevel(logging.CRITICAL)  # it tells every lost connection
    again = "see docs/own_music.md, then run the same again: it goes on from here"
    where = {"address" if ":" in cluster else "scheduler_file": cluster}
    if "scheduler_file" in where and not Path(cluster).is_file():  # Dask would wait for ever
        raise LabError(f"{cluster}: no scheduler file, and no address like tcp://host:8786")
    try:
        client = distributed.Client(**where, timeout=WAIT_SECONDS, set_as_default=False)
    except (OSError, ValueError, KeyError) as error:
        raise LabError(f"{cluster}: no scheduler answers ({one_line(error)}); {again}") from None
    try:
        with client:
            client.wait_for_workers(1, timeout=WAIT_SECONDS)
            futures = client.map(work, batches, pure=False)
            for future in distributed.as_completed(futures, loop=client.loop):
                yield future.result()
    except TimeoutError:
        raise LabError(f"{cluster}: the cluster has no worker; {again}") from None
    except ModuleNotFoundError as error:
        raise LabError(f"{cluster}: a worker does not find the kit ({error}); {again}") from None
    except distributed.KilledWorker as error:
        raise LabError(f"{cluster}: workers die again and again ({one_line(error)})") from None
    except RuntimeError as error:  # the scheduler does not understand what it is sent
        raise LabError(
            f"{cluster}: {one_line(error)}; give all machines the same environment"
        ) from None
    except (CancelledError, OSError) as error:
        raise LabError(f"{cluster}: the scheduler is gone ({one_line(error)}); {again}") from None
