"""What plan, lock, build and run have in common: the steps up to the one that they want."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from rebind import launch, settings
from rebind.cli.options import flags
from rebind.errors import AddressError
from rebind.launch import Wanted
from rebind.plugins import Installation
from rebind.values import Commit, Report, Spec


@dataclass(frozen=True, slots=True)
class Asked:
    """The arguments that every command with an ADDRESS takes."""

    address: str
    ref: str | None
    subdir: str
    as_of: str | None
    data: Path | None
    base: str | None = None
    """What an image lies on."""


def spec_of(installation: Installation, asked: Asked) -> Spec:
    """The spec of an address with its options. Raises AddressError."""
    found = launch.find(installation.steps.providers, asked.address)
    subdir = asked.subdir.strip("/")
    if ".." in Path(subdir).parts:
        raise AddressError(f"The directory {asked.subdir!r} leads out of the repository.", remedy="Correct --subdir.")
    return replace(found, ref=asked.ref or found.ref, subdir=subdir or found.subdir)


@contextmanager
def resolved(asked: Asked, report: Report) -> Iterator[tuple[Installation, Wanted, Commit]]:
    """An open installation and the commit of the address."""
    loaded, _ = settings.load(flags(data=asked.data, base_image=asked.base))
    with Installation(loaded).opened() as installation:
        wanted = Wanted(spec_of(installation, asked), asked.as_of)
        yield installation, wanted, launch.resolve(installation.steps, wanted.spec, report)
