"""In which order a run does what, one task at a time or side by side."""

from __future__ import annotations

from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from graphlib import TopologicalSorter

from helpers.folders import demo_size
from helpers.machinery.files import cache_dir, remove_leftovers
from tools.run.display import Display
from tools.run.plan import Plan
from tools.run.results import Row
from tools.run.tasks import DEMO_TASK, PAGE, Tasks, why_to_do


def run_tasks(plan: Plan, rows: dict[str, Row], display: Display) -> None:
    """Run what is not up to date; `rows` then says how each notebook fared.

    Raises KeyboardInterrupt after everything was stopped.
    """
    tasks, order = Tasks(plan, rows, display), in_order(plan)
    needs = tasks_and_needs(plan)
    graph = TopologicalSorter(needs)
    graph.prepare()
    waiting: list[str] = []
    running: dict[Future[Row | None], str] = {}
    try:
        with ThreadPoolExecutor(plan.jobs) as threads, ExitStack() as at_the_end:
            at_the_end.callback(tasks.stop.set)  # by then all is done, or something was raised
            while graph.is_active():
                waiting += graph.get_ready()
                if waiting and len(running) < plan.jobs:
                    task = min(waiting, key=order.index)
                    waiting.remove(task)
                    if action := tasks.begin(task, needs[task]):
                        running[threads.submit(action)] = task
                    else:
                        graph.done(task)
                    continue
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    tasks.end(future.result())
                    graph.done(running.pop(future))
    finally:
        remove_leftovers(cache_dir())  # of what was killed just now, or in an earlier run


def tasks_and_needs(plan: Plan) -> dict[str, list[str]]:
    """The tasks of a plan, each with those that come before it.

    One for each notebook, one for its page, and one for the demo set.
    """
    demo: dict[str, list[str]] = {DEMO_TASK: []} if plan.is_demo else {}
    notebooks = {name: [*plan.lab.needs(name), *demo] for name in plan.notebooks}
    return demo | notebooks | {PAGE + name: [name] for name in notebooks}


def in_order(plan: Plan) -> list[str]:
    """All tasks; of those that could begin at a time, the earlier one does.

    One at a time, in the order of the lab. Side by side, what most others wait for comes first:
    05 is then under way while 00, 01 and 04 run beside it, and pages are written where there is
    time.
    """
    names, pages_of = plan.notebooks, [PAGE + name for name in plan.notebooks]
    if plan.jobs == 1:
        return [DEMO_TASK, *(task for both in zip(names, pages_of, strict=True) for task in both)]
    waiting = {name: sum(name in plan.lab.with_needs([other]) for other in names) for name in names}
    return [DEMO_TASK, *sorted(names, key=lambda name: -waiting[name]), *pages_of]


def why_to_run(plan: Plan) -> dict[str, str]:
    """For `--list`: why each notebook of the plan would run; nothing for what is up to date."""
    if plan.is_demo and demo_size() < plan.demo_size:
        return dict.fromkeys(plan.notebooks, "the demo set is to be built")
    reasons: dict[str, str] = {}
    for name in plan.notebooks:
        after = [need for need in plan.lab.needs(name) if reasons[need]]
        reasons[name] = why_to_do(plan, name) or (f"after {', '.join(after)}" if after else "")
    return reasons
