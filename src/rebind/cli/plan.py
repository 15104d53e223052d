"""`rebind plan`: what would be built, and why."""

from __future__ import annotations

from dataclasses import asdict, replace

from rebind.cli.options import Address, AsOf, Data, Json, Ref, Subdir


def plan(
    address: Address, ref: Ref = None, subdir: Subdir = "", as_of: AsOf = None, json: Json = False, data: Data = None
) -> None:
    """Show what the repository needs and the environment it would get; installs nothing."""
    from rebind import launch
    from rebind.cli.output import Progress, print_json
    from rebind.cli.prepare import Asked, resolved

    report = Progress(quiet=json)
    with resolved(Asked(address, ref, subdir, as_of, data), report) as (installation, wanted, commit):
        with launch.checked_out(installation.steps, commit, report) as (root, found):
            locked = launch.lock(installation.steps, wanted, commit, root, found, report)
        facts = {
            "repository": commit.spec.repository,
            "commit": commit.id,
            "commit_date": commit.date.isoformat(),
            **asdict(replace(found, pinned=None)),
            "pinned": found.pinned.source if found.pinned else None,
            "resolved_python": locked.python,
            "as_of": locked.date.isoformat(),
            "joined": locked.joined,
            "debian": [f"{package.name}={package.version}" for package in locked.debian],
            "packages": [f"{package.name}=={package.version}" for package in locked.packages],
            "warnings": [*found.warnings, *locked.warnings],
            "environment": locked.environment,
        }
    print_json(facts) if json else _show(facts)


def _show(facts: dict[str, object]) -> None:
    rows = (
        "repository",
        "commit",
        "commit_date",
        "config_dir",
        "resolved_python",
        "as_of",
        "pinned",
        "post_build",
        "start",
    )
    for name in rows:
        if facts[name]:
            print(f"{name.replace('_', ' '):>16}  {facts[name]}")
    if facts["debian"]:
        print(f"{'debian':>16}  {', '.join(facts['debian'])}")  # type: ignore[arg-type]
    print(f"{'packages':>16}  {', '.join(facts['packages'])}")  # type: ignore[arg-type]
    print(f"{'environment':>16}  {facts['environment']}")
