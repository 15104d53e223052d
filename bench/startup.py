"""`rebind --help` beside `repo2docker --help`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from bench import measure, options
from bench.figures import Figures
from bench.options import Options
from bench.peers import environments

CASES = (("--help",), ("--version",))


def bench(given: Options) -> Figures:
    figures = Figures("startup")
    programs = {"ours": Path(sys.executable).parent / "rebind"}
    if given.peers:
        programs["repo2docker"] = environments.repo2docker(given.work / "repo2docker")
    for case in CASES:
        for program in programs.values():
            measure.run([program, *case])  # compiles .pyc, warms the page cache
        for _ in range(given.repeat):
            for side, program in programs.items():
                spent = measure.run([program, *case])
                figures.add(case[0], side, "s wall", spent.wall)
                figures.add(case[0], side, "s cpu", spent.cpu)
    return figures


def main(argv: Sequence[str] | None = None) -> None:
    given = options.parse(__doc__ or "", argv, repeat=15)
    bench(given).done(given.keep)


if __name__ == "__main__":
    main()
