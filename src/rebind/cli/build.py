"""`rebind build`: makes the environment and starts nothing."""

from __future__ import annotations

from rebind.cli.options import Address, AsOf, Data, Json, Ref, Subdir


def build(
    address: Address, ref: Ref = None, subdir: Subdir = "", as_of: AsOf = None, json: Json = False, data: Data = None
) -> None:
    """Make the repository's environment, so that a later launch only starts it."""
    from rebind import launch
    from rebind.cli.output import Progress, print_json
    from rebind.cli.prepare import Asked, resolved
    from rebind.values import Event, Phase

    report = Progress(as_json=json)
    with resolved(Asked(address, ref, subdir, as_of, data), report) as (installation, wanted, commit):
        steps = installation.steps
        prepared = launch.remembered(steps, wanted, commit) or launch.prepare(steps, wanted, commit, report)
    if json:
        report(Event(Phase.BUILT, "The environment is ready.\n"))
        print_json(
            {
                "environment": prepared.environment.digest,
                "path": str(prepared.environment.path),
                "commit": commit.id,
                "python": prepared.environment.python.version,
            }
        )
    else:
        report(Event(Phase.BUILT, ""))
        print(prepared.environment.digest)
