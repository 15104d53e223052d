"""`rebind lock`: every package with its version, source and hash."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rebind.cli.options import Address, AsOf, Data, Json, Ref, Subdir

FILE = "pylock.toml"
Output = Annotated[
    Path | None,
    typer.Option("--output", metavar="DIR", help=f"Write {FILE} into this directory.", show_default=False),
]


def lock(
    address: Address,
    ref: Ref = None,
    subdir: Subdir = "",
    as_of: AsOf = None,
    output: Output = None,
    json: Json = False,
    data: Data = None,
) -> None:
    """Write the repository's lock (pylock.toml, PEP 751) to standard output, or into a directory.

    In the repository, the file makes every later launch take exactly these packages.
    """
    from rebind import launch
    from rebind.cli.output import Progress, print_json
    from rebind.cli.prepare import Asked, resolved
    from rebind.locks import write_pylock

    report = Progress(quiet=json)
    with (
        resolved(Asked(address, ref, subdir, as_of, data), report) as (installation, wanted, commit),
        launch.checked_out(installation.steps, commit, report) as (root, found),
    ):
        locked = launch.lock(installation.steps, wanted, commit, root, found, report)
    if output is not None:
        _write(output, write_pylock(locked))
    if not json:
        print(f"{output / FILE} is written." if output is not None else write_pylock(locked).rstrip("\n"))
        return
    print_json(
        {
            "environment": locked.environment,
            "commit": commit.id,
            "python": locked.python,
            "as_of": locked.date.isoformat(),
            "joined": locked.joined,
            "debian": [{"name": d.name, "version": d.version, "url": d.url, "sha256": d.sha256} for d in locked.debian],
            "packages": [
                {"name": p.name, "version": p.version, "url": p.url, "sha256": p.sha256} for p in locked.packages
            ],
            "warnings": list(locked.warnings),
        }
    )


def _write(folder: Path, text: str) -> None:
    """Raises SettingsError. A link of that name is replaced, not followed."""
    from rebind.errors import SettingsError
    from rebind.locks.whole import write_whole

    if not folder.is_dir():
        raise SettingsError(f"The directory {folder} is not there.", remedy="Make it, or give another with --output.")
    try:
        write_whole(folder / FILE, text)
        (folder / FILE).chmod(0o644)
    except OSError as error:
        remedy = "Give another directory with --output."
        raise SettingsError(f"{folder / FILE} cannot be written: {error.strerror}.", remedy=remedy) from error
