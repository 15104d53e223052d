"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

Address = Annotated[
    str, typer.Argument(metavar="ADDRESS", help="A folder, or the URL of a Git repository.", show_default=False)
]
Ref = Annotated[str | None, typer.Option("--ref", help="Branch, tag or commit.", show_default=False)]
Subdir = Annotated[str, typer.Option("--subdir", help="Directory that takes the part of the root.", show_default=False)]
AsOf = Annotated[
    str | None,
    typer.Option("--as-of", metavar="DATE|today", help="Packages as of this date instead of the commit's."),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object a line on standard output.")]
Data = Annotated[
    Path | None, typer.Option("--data", metavar="DIR", help="Directory that holds everything.", show_default=False)
]


def flags(**values: Any) -> dict[str, Any]:
    """Flags as `settings.load` takes them."""
    return {name: value for name, value in values.items() if value is not None}
