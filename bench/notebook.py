"""A notebook is changed and committed, then launched: our own work before the session starts, beside the image alone.

`ours, in a hub` is what `rebind serve` does from the request for the event stream to the start of the session: resolve
the branch, fetch the commit, read the configuration, find lock and environment, lay the repository's layer.
`ours, steps alone` is the same without web and store, in one process. Theirs is `podman build` of the same repository
with every package layer kept (it copies the files and writes the image; nothing is started).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from bench import options, repository
from bench.engine import Hub, silent
from bench.figures import Figures
from bench.measure import Failed
from bench.options import Options
from bench.peers import podman
from bench.peers.podman import Podman
from rebind import launch, settings
from rebind.launch import Steps, Wanted
from rebind.plugins import Installation
from rebind.values import Event, Phase

CASE = "notebook changed, to the start of the session"


def change(folder: Path, number: int) -> None:
    """A new commit that differs in a notebook."""
    repository.commit(folder, {"index.ipynb": repository.notebook(f"{number} * {time.time_ns()}")})


def prepare(steps: Steps, folder: Path) -> float:
    """The seconds of resolve and prepare for the newest commit. Raises Failed if packages were touched."""
    said: list[Event] = []
    started = time.perf_counter()
    wanted = Wanted(launch.find(steps.providers, f"file://{folder}"))
    commit = launch.resolve(steps, wanted.spec, said.append)
    launch.remembered(steps, wanted, commit) or launch.prepare(steps, wanted, commit, said.append)
    spent = time.perf_counter() - started
    if any("Installing" in event.message for event in said if event.phase is Phase.BUILDING):
        raise Failed("a package step ran, although only a notebook was changed")
    return spent


def bench(given: Options) -> Figures:
    figures = Figures("notebook")
    room = given.room("notebook")
    folder, data = room / "repository", room / "data"
    repository.make(folder, repository.files(repository.SCIENTIFIC))
    engine = Podman(given.room("podman"))
    tools = ("pip", "uv") if given.peers and podman.ready(engine) else ()
    for tool in tools:
        engine.build(tool, folder, f"bench-notebook-{tool}", fresh=False)
    loaded, _ = settings.load({"data": data}, environ={})
    with Installation(loaded).opened() as installation:
        steps = installation.steps
        wanted = Wanted(launch.find(steps.providers, f"file://{folder}"))
        launch.prepare(steps, wanted, launch.resolve(steps, wanted.spec, silent), silent)
        with Hub(data) as hub:
            hub.click(folder, "main")
            for number in range(given.repeat):
                _repeat(figures, number, folder, steps, hub)
                for tool in tools:
                    change(folder, number)
                    spent = engine.build(tool, folder, f"bench-notebook-{tool}", fresh=False)
                    figures.add(CASE, f"podman, {tool}", "s wall", spent.wall)
    if tools:
        engine.prune()
    return figures


def _repeat(figures: Figures, number: int, folder: Path, steps: Steps, hub: Hub) -> None:
    change(folder, number)
    figures.add(CASE, "ours, steps alone", "s wall", prepare(steps, folder))
    change(folder, number)
    clicked = hub.click(folder, "main")
    figures.add(CASE, "ours, in a hub", "s wall", clicked.launching)
    figures.add("notebook changed, to 200 on /lab", "ours, in a hub", "s wall", clicked.lab)


def main(argv: Sequence[str] | None = None) -> None:
    given = options.parse(__doc__ or "", argv)
    bench(given).done(given.keep)


if __name__ == "__main__":
    main()
