"""All benchmarks, one after the other: `python -m bench`."""

from __future__ import annotations

import sys

from bench import environment, notebook, sessions, startup

for one in (startup, notebook, sessions, environment):
    print(f"\n{(one.__doc__ or '').splitlines()[0]}")
    one.main(sys.argv[1:])
