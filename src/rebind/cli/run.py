"""`rebind run`: one command in the repository's environment."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from rebind.cli.options import Address, AsOf, Data, Json, Ref, Subdir


def run(
    address: Address,
    command: Annotated[list[str], typer.Argument(metavar="-- COMMAND...", show_default=False)],
    ref: Ref = None,
    subdir: Subdir = "",
    as_of: AsOf = None,
    json: Json = False,
    data: Data = None,
) -> None:
    """Run a command in the repository's environment, in its sandbox, and exit with its code."""
    from rebind import launch
    from rebind.cli.output import Progress, print_json
    from rebind.cli.prepare import Asked, resolved
    from rebind.values import Event, Phase

    report = Progress(as_json=json)
    with resolved(Asked(address, ref, subdir, as_of, data), report) as (installation, wanted, commit):
        steps = installation.steps
        prepared = launch.remembered(steps, wanted, commit) or launch.prepare(steps, wanted, commit, report)

        def on_line(line: str) -> None:
            report(Event(Phase.RUNNING, line if line.endswith("\n") else line + "\n"))

        code = installation.run(prepared, command, report, on_line=on_line if json else None)
    if json:
        print_json({"exit_code": code})
    sys.exit(code)
