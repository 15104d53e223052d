"""`rebind lock`: every package with its version, source and hash."""

from __future__ import annotations

from rebind.cli.options import Address, AsOf, Data, Json, Ref, Subdir


def lock(
    address: Address, ref: Ref = None, subdir: Subdir = "", as_of: AsOf = None, json: Json = False, data: Data = None
) -> None:
    """Write the repository's lock (pylock.toml, PEP 751) to standard output."""
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
    if not json:
        print(write_pylock(locked), end="")
        return
    print_json(
        {
            "environment": locked.environment,
            "commit": commit.id,
            "python": locked.python,
            "as_of": locked.date.isoformat(),
            "joined": locked.joined,
            "packages": [
                {"name": p.name, "version": p.version, "url": p.url, "sha256": p.sha256} for p in locked.packages
            ],
            "warnings": list(locked.warnings),
        }
    )
