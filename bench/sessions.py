"""Sessions beside `jupyter lab` started plainly: start to HTTP 200 on /lab (wall, CPU), many at once, idle memory.

Ours: the process engine, with warm parent, sandbox and the hub's default limits, asked through the session's own
socket; and once more as a whole click, through the hub's launch API and the proxy (`ours, hub and proxy`). CPU counts
all that the start costs: engine, warm parent, keeper, session. Memory is PSS, five seconds after the start: of all
processes of the sessions and of the warm parent, divided by the number of sessions.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench import measure, options, repository
from bench.engine import Bench, Hub, Started, opened
from bench.figures import Figures
from bench.options import Options
from bench.peers import lab

_SETTLING = 5.0
ONE = "session start to 200 on /lab"


def _at_once(count: int) -> str:
    return f"{count} session starts at once"


def _memory(count: int) -> str:
    return f"memory of an idle session, {count} running"


def _cpu(bench: Bench, sessions: list[Started]) -> float:
    own = [os.getpid(), *bench.pids(sessions)]
    return measure.cpu(own)


def ours(bench: Bench, count: int, figures: Figures) -> None:
    """One repeat with `count` sessions at once."""
    before = _cpu(bench, [])
    sessions, failed, wall = bench.at_once(count)
    cpu = _cpu(bench, sessions) - before
    try:
        _note(figures, "ours", count, [wall, cpu, failed], [one.wall for one in sessions])
        time.sleep(_SETTLING)
        figures.add(_memory(count), "ours", "MiB PSS", measure.pss(bench.pids(sessions)) / len(sessions))
    finally:
        bench.stop(sessions)


def _note(figures: Figures, side: str, count: int, totals: list[float], each: list[float]) -> None:
    wall, cpu, failed = totals
    case = ONE if count == 1 else _at_once(count)
    figures.add(case, side, "s wall", wall)
    figures.add(case, side, "s cpu a session", cpu / count)
    if count > 1:
        figures.add(case, side, "s wall, median session", sorted(each)[len(each) // 2])
        figures.add(case, side, "failed", failed)


def theirs(jupyter: Path, count: int, figures: Figures) -> None:
    """One repeat with `count` plain servers at once."""
    with lab.running(jupyter, count) as (labs, wall, each):
        cpu = sum(measure.cpu(one.pids()) for one in labs)
        _note(figures, "jupyter lab", count, [wall, cpu, 0], each)
        time.sleep(_SETTLING)
        memory = sum(measure.pss(one.pids()) for one in labs) / count
        figures.add(_memory(count), "jupyter lab", "MiB PSS", memory)


def through_hub(data: Path, folder: Path, repeat: int, figures: Figures) -> None:
    """Whole clicks on a repository that has been launched before."""
    with Hub(data) as hub:
        hub.click(folder, "main")
        for _ in range(repeat):
            clicked = hub.click(folder, "main")
            figures.add(ONE, "ours, hub and proxy", "s wall", clicked.lab)
            figures.add("click to the start of the session", "ours, hub", "s wall", clicked.launching)


def bench(given: Options) -> Figures:
    figures = Figures("sessions")
    room = given.room("sessions")
    folder = room / "repository"
    repository.make(folder, repository.files(()))
    jupyter = lab.program(given.work / "lab", sys.executable) if given.peers else None
    if jupyter:
        with lab.running(jupyter, 1):
            pass  # compiles, warms the page cache
    with opened(room / "data", folder) as engine:
        ours(engine, 1, Figures("warming"))
        for _ in range(given.repeat):
            ours(engine, 1, figures)
            if jupyter:
                theirs(jupyter, 1, figures)
        for _ in range(max(1, given.repeat // 2)):
            ours(engine, 10, figures)
            if jupyter:
                theirs(jupyter, 10, figures)
            ours(engine, 50, figures)
    through_hub(room / "data", folder, given.repeat, figures)
    return figures


def main(argv: Sequence[str] | None = None) -> None:
    given = options.parse(__doc__ or "", argv)
    bench(given).done(given.keep)


if __name__ == "__main__":
    main()
