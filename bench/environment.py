"""An environment of numpy, pandas, matplotlib, and the same with one more requirement, beside pip and uv under podman.

Package caches are warm on all sides: rebind's unpacked wheels are there, pip's and uv's caches are mounted into their
builds. What is made anew in each repeat is the environment (ours: `rebind build`, the whole command) and the image's
layers (theirs). `ours` resolves, as theirs do, and as of a new commit's date each time; `ours, from its lock` has been
resolved before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import options, repository
from bench.figures import Figures
from bench.measure import Spent
from bench.options import Options
from bench.ours import Rebind
from bench.peers import podman
from bench.peers.podman import Podman

WHOLE = "numpy, pandas, matplotlib"
MORE = "one more requirement"
TOOLS = ("pip", "uv")


@dataclass(frozen=True, slots=True)
class Repositories:
    """Two that differ in one requirement."""

    whole: Path
    more: Path


def repositories(room: Path) -> Repositories:
    found = Repositories(room / "whole", room / "more")
    repository.make(found.whole, repository.files(repository.SCIENTIFIC))
    repository.make(found.more, repository.files((*repository.SCIENTIFIC, repository.ONE_MORE)))
    return found


def _note(figures: Figures, case: str, side: str, spent: Spent) -> None:
    figures.add(case, side, "s wall", spent.wall)
    figures.add(case, side, "s cpu", spent.cpu)


def ours(rebind: Rebind, wanted: Repositories, figures: Figures) -> None:
    """One repeat: each environment once with resolving, once from its lock."""
    for case, folder in ((WHOLE, wanted.whole), (MORE, wanted.more)):
        repository.commit(folder, {})  # another date, of which no index page is cached yet
        before = rebind.kept()
        _note(figures, case, "ours", rebind.build(folder))
        rebind.forget(before, locks=False)
        _note(figures, case, "ours, from its lock", rebind.build(folder))
    rebind.forget(set(), locks=True)


def theirs(engine: Podman, tool: str, wanted: Repositories, figures: Figures) -> None:
    """One repeat: the image without any kept layer, then the next one on what it kept."""
    side = f"podman, {tool}"
    _note(figures, WHOLE, side, engine.build(tool, wanted.whole, f"bench-{tool}", fresh=True))
    _note(figures, MORE, side, engine.build(tool, wanted.more, f"bench-{tool}-more", fresh=False))
    engine.forget(f"bench-{tool}-more")
    engine.prune()


def bench(given: Options) -> Figures:
    figures = Figures("environment")
    figures.notes.append(" ".join((podman.__doc__ or "").split()))
    room = given.room("environment")
    wanted = repositories(room)
    rebind = Rebind(room / "data")
    engine = Podman(given.room("podman"))
    tools = TOOLS if given.peers and podman.ready(engine) else ()
    for folder in (wanted.more, wanted.whole):  # fetches what all caches shall hold
        rebind.build(folder)
        for tool in tools:
            engine.build(tool, folder, f"bench-{tool}", fresh=True)
    rebind.forget(set(), locks=True)
    for tool in tools:
        engine.forget(f"bench-{tool}-more")
        engine.prune()  # else the warming's layers would be found again
    for _ in range(given.repeat):
        ours(rebind, wanted, figures)
        for tool in tools:
            theirs(engine, tool, wanted, figures)
    return figures


def main(argv: Sequence[str] | None = None) -> None:
    given = options.parse(__doc__ or "", argv)
    bench(given).done(given.keep)


if __name__ == "__main__":
    main()
