"""The steps of a launch in order, for every front: address -> commit -> plan -> locked plan -> environment (+ layers).

The sixth and seventh step, session and route, need somebody who keeps them: see rebind.hub.
A step whose result is there is skipped; `remembered` skips all of them for a commit that was prepared before.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from hashlib import sha256
from pathlib import Path

from rebind import __version__, recipes
from rebind.builds import Builder
from rebind.errors import AddressError
from rebind.locks import CondaFirst, DebianLocker, Interpreters
from rebind.providers import Provider
from rebind.values import (
    Commit,
    Environment,
    Event,
    Interpreter,
    Layer,
    LockedPlan,
    Phase,
    Plan,
    Report,
    Spec,
)

FORMAT = 1  # raised when what `remembered` keeps changes its form or meaning


@dataclass(frozen=True, slots=True)
class Steps:
    """The parts that do the steps; put together in rebind.plugins."""

    providers: tuple[Provider, ...]
    interpreters: Interpreters
    locker: CondaFirst
    debian: DebianLocker
    builder: Builder
    memory: Path
    """What `remembered` knows."""
    server: Callable[[Report], Path]
    """Installs the notebook server, if it is not there, and gives its prefix."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a front asks for."""

    spec: Spec
    as_of: str | None = None
    """None (the repository decides), `today`, a date or a time in ISO form."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """All that a session needs of a repository."""

    commit: Commit
    environment: Environment
    layers: tuple[Layer, ...]
    start: str | None


def find(providers: tuple[Provider, ...], address: str) -> Spec:
    """The spec of an address, by the first provider that knows it. Raises AddressError; asks no network."""
    for provider in providers:
        spec = provider.detect(address)
        if spec is not None:
            return spec
    raise AddressError(
        f"Nothing is known under the address {address!r}.",
        remedy="Give a folder, or the URL of a Git repository (https://..., ssh://..., git@host:path).",
    )


def provider_of(providers: tuple[Provider, ...], name: str) -> Provider:
    """The provider of that name. Raises AddressError."""
    for provider in providers:
        if provider.name == name:
            return provider
    known = ", ".join(provider.name for provider in providers)
    raise AddressError(f"No provider found for prefix {name!r}.", remedy=f"Known prefixes: {known}.")


def moment(as_of: str | None, plan: Plan, commit: Commit, now: datetime) -> datetime:
    """The time as of which packages are taken: `as_of`, else the date in runtime.txt, else the commit's.

    A bare date means the end of that day (UTC), so that it includes what was published on it. Raises AddressError.
    """
    if as_of == "today":
        return now
    if as_of:
        wanted = _parse_moment(as_of)
        # The end of today is a fair way to say today; anything later cannot be known yet.
        if wanted.date() > now.date():
            raise AddressError(
                f"The date {as_of} is in the future.", remedy="Give a past date, or `today` for the newest packages."
            )
        return min(wanted, now)
    if plan.date is not None:
        return min(_end_of(plan.date), now)
    return min(commit.date, now)


def _parse_moment(text: str) -> datetime:
    try:
        if len(text) == 10:
            return _end_of(date.fromisoformat(text))
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise AddressError(
            f"{text!r} is not a date.", remedy="Write it as 2019-05-31, as 2019-05-31T12:00:00Z, or as `today`."
        ) from None
    return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)


def _end_of(day: date) -> datetime:
    return datetime.combine(day, time.min, UTC) + timedelta(days=1, microseconds=-1)


def resolve(steps: Steps, spec: Spec, report: Report) -> Commit:
    """Step 1, first half. Raises RepositoryError, RefNotFoundError, RefusedError, NetworkError."""
    commit = provider_of(steps.providers, spec.provider).resolve(spec)
    named = f"{spec.ref or 'the newest commit'} of {spec.repository}"
    report(Event(Phase.FETCHING, f"{named} is {commit.id[:19]}, of {commit.date:%Y-%m-%d}\n"))
    return commit


@contextmanager
def checked_out(steps: Steps, commit: Commit, report: Report) -> Iterator[tuple[Path, Plan]]:
    """Step 1, second half, and step 2: the root of the checkout (its subdir) and the plan."""
    with steps.builder.store.temporary() as place:
        checkout = place / "tree"
        provider_of(steps.providers, commit.spec.provider).fetch(commit, checkout, report)
        root = _subdir(checkout, commit.spec.subdir)
        plan = recipes.plan(root)
        for warning in plan.warnings:
            report(Event(Phase.BUILDING, f"Warning: {warning}\n"))
        yield root, plan


def _subdir(checkout: Path, subdir: str) -> Path:
    root = checkout / subdir
    inside = root.resolve().is_relative_to(checkout.resolve())
    if not inside or not root.is_dir():
        raise AddressError(
            f"The repository has no directory {subdir!r}.", remedy="Correct --subdir; it is relative to the root."
        )
    return root


def lock(steps: Steps, wanted: Wanted, commit: Commit, root: Path, plan: Plan, report: Report) -> LockedPlan:
    """Step 3: Debian packages first, since Python packages may need them. Raises LockError, InterpreterError,
    NetworkError."""
    when = moment(wanted.as_of, plan, commit, datetime.now(UTC))
    found = steps.debian.lock(plan.apt, when, report)
    system = partial(steps.builder.system, found.packages, report)
    locked = steps.locker.lock(plan, root, when, report, identity=commit.identity, system=system)
    locked = replace(locked, debian=found.packages, warnings=(*found.warnings, *locked.warnings))
    for warning in locked.warnings:
        report(Event(Phase.BUILDING, f"Warning: {warning}\n"))
    return locked


def prepare(steps: Steps, wanted: Wanted, commit: Commit, report: Report) -> Prepared:
    """Steps 1 to 4 for a commit. Raises any RebindError."""
    with checked_out(steps, commit, report) as (root, plan):
        locked = lock(steps, wanted, commit, root, plan, report)
        environment = build(steps, locked, report)
        layers = steps.builder.overlay(
            environment, plan, root, commit, report, when=locked.date, server=lambda: steps.server(report)
        )
    prepared = Prepared(commit, environment, layers, plan.start)
    _remember(steps, wanted, prepared)
    return prepared


def build(steps: Steps, locked: LockedPlan, report: Report) -> Environment:
    """Step 4. Raises BuildError, DiskError, NetworkError."""
    # Conda brings its own Python; one of this machine of the same minor version helps to build.
    version = ".".join(locked.python.split(".")[:2]) if locked.conda else locked.python
    return steps.builder.build(locked, steps.interpreters.by_version(version), report)


# What was prepared before


def remembered(steps: Steps, wanted: Wanted, commit: Commit) -> Prepared | None:
    """What `prepare` gave for this commit, if all of it is still there; None otherwise."""
    if wanted.as_of == "today":
        return None  # its meaning moves; the lock decides quickly enough whether anything changed
    try:
        kept = json.loads(_memory(steps, wanted, commit).read_text())
        python = Interpreter(kept["python"][0], Path(kept["python"][1]), Path(kept["python"][2]))
        environment = Environment(kept["environment"], Path(kept["path"]), python, kept["joined"])
        layers = tuple(Layer(digest, Path(path)) for digest, path in kept["layers"])
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        return None
    entries = [("environments", environment.digest), *(("layers", layer.digest) for layer in layers)]
    store = steps.builder.store
    if not (python.within or python.executable.exists()) or not all(
        store.find(kind, digest) for kind, digest in entries
    ):
        return None
    for kind, digest in entries:
        store.touch(kind, digest)
    return Prepared(commit, environment, layers, kept["start"])


def _memory(steps: Steps, wanted: Wanted, commit: Commit) -> Path:
    alone = wanted.spec.ref in (None, "", "HEAD")  # with the history of the commit, or without it
    facts = [FORMAT, __version__, commit.identity, commit.id, commit.spec.subdir, wanted.as_of, alone]
    return steps.memory / (sha256(json.dumps(facts).encode()).hexdigest()[:40] + ".json")


def _remember(steps: Steps, wanted: Wanted, prepared: Prepared) -> None:
    environment, python = prepared.environment, prepared.environment.python
    kept = {
        "environment": environment.digest,
        "path": str(environment.path),
        "joined": environment.joined,
        "python": [python.version, str(python.prefix), str(python.executable)],
        "layers": [[layer.digest, str(layer.path)] for layer in prepared.layers],
        "start": prepared.start,
    }
    path = _memory(steps, wanted, prepared.commit)
    with suppress(OSError):  # losing it costs a few tenths of a second at the next launch, no more
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps(kept))
        fresh.replace(path)


def pinned(spec: Spec, commit_id: str | None) -> Spec:
    """The spec with its ref replaced by a commit that was resolved before, if there is one."""
    return replace(spec, ref=commit_id) if commit_id and not commit_id.startswith("sha256-") else spec
