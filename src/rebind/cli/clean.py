"""`rebind clean`: frees space."""

from __future__ import annotations

from typing import Annotated

import typer

from rebind.cli.options import Data, Json


def clean(
    days: Annotated[float, typer.Option(help="Keep what was used within this many days.")] = 30.0,
    everything: Annotated[bool, typer.Option("--all", help="Keep only what is in use just now.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be freed.")] = False,
    json: Json = False,
    data: Data = None,
) -> None:
    """Delete environments, packages and caches that nobody uses; never what is in use."""
    from rebind.cli.options import flags
    from rebind.cli.output import print_json
    from rebind.plugins import Installation
    from rebind.settings import load

    loaded, _ = load(flags(data=data))
    freed, removed = Installation(loaded).clean(None if everything else days, dry_run=dry_run)
    if json:
        print_json({"freed": freed, "removed": list(removed), "dry_run": dry_run})
    else:
        verb = "would free" if dry_run else "freed"
        print(f"{verb} {freed / 1e6:.1f} MB: {len(removed)} entries")
