"""The list of commands."""

from __future__ import annotations

from typing import Annotated

import typer

from rebind import __version__
from rebind.cli import build, clean, launch, lock, plan, run, serve, settings

app = typer.Typer(
    name="rebind",
    help="Turns the address of a repository into a running interactive session.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="The version.")] = False,
) -> None:
    del version


app.command(name="launch")(launch.launch)
app.command(name="run")(run.run)
app.command(name="plan")(plan.plan)
app.command(name="lock")(lock.lock)
app.command(name="build")(build.build)
app.command(name="serve")(serve.serve)
app.command(name="clean")(clean.clean)
app.command(name="settings")(settings.settings)
