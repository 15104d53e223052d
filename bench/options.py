"""The command line that all benchmarks share."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

DEFAULT_WORK = Path("/var/tmp/rebind-bench")


@dataclass(frozen=True, slots=True)
class Options:
    """How a benchmark is run."""

    repeat: int
    peers: bool
    work: Path
    """Holds base images, environments of peers, and data directories; kept between runs."""
    keep: bool
    """Whether the raw figures are written to bench/results/."""

    def room(self, name: str) -> Path:
        path = self.work / name
        path.mkdir(parents=True, exist_ok=True)
        return path


def parse(what: str, argv: Sequence[str] | None = None, repeat: int = 5) -> Options:
    """Options of the benchmark `what` (its docstring is the help)."""
    parser = argparse.ArgumentParser(description=what)
    parser.add_argument("--repeat", type=int, default=repeat, metavar="N", help="repeats of each case")
    parser.add_argument("--peers", action=argparse.BooleanOptionalAction, default=True, help="time the peers as well")
    parser.add_argument("--keep", action=argparse.BooleanOptionalAction, default=True, help="write bench/results/")
    parser.add_argument("--work", type=Path, default=DEFAULT_WORK, help="directory for images and environments")
    given = parser.parse_args(argv)
    os.umask(0o022)
    return Options(given.repeat, given.peers, given.work, given.keep)
