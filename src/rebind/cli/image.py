"""The image part of `rebind build`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rebind import images
from rebind.errors import AddressError
from rebind.launch import Prepared
from rebind.plugins import Installation, Told
from rebind.values import Event, Phase, Report


@dataclass(frozen=True, slots=True)
class Wish:
    """What shall become of the image."""

    address: str
    name: str | None
    push: bool
    outputs: tuple[str, ...]
    labels: tuple[tuple[str, str], ...]


def wish(address: str, name: str | None, push: bool, outputs: tuple[str, ...], labels: tuple[str, ...]) -> Wish | None:
    """What the options ask for, checked before anything is built; None if for no image. Raises AddressError."""
    from rebind.images.layout import split

    if not name and not push and not outputs:
        return None
    if push and not name:
        raise AddressError("An image without a name cannot be pushed.", remedy="Add --image REGISTRY/NAME:TAG.")
    if name:
        images.parse(name)
    for output in outputs:
        split(output)
    if not all("=" in label for label in labels):
        raise AddressError("A label is written KEY=VALUE.", remedy="Correct --label.")
    pairs = [label.partition("=") for label in labels]
    return Wish(address, name, push, outputs, tuple((key, value) for key, _, value in pairs))


def carry_out(installation: Installation, prepared: Prepared, wished: Wish, report: Report) -> dict[str, Any]:
    """Writes the image, saves and pushes it; what to tell of it."""
    repository = "local" if Path(wished.address).is_dir() else wished.address
    image = installation.image(prepared, Told(repository, wished.labels), report)
    made: dict[str, Any] = {"digest": image.digest, "layers": len(image.parts) - 1}
    if wished.name:
        made["image"] = wished.name
    for output in wished.outputs:
        installation.images.save(image, output, wished.name or "")
    if wished.push and wished.name:
        report(Event(Phase.PUSHING, f"Pushing {wished.name}\n"))
        pushed = installation.images.push(image, images.parse(wished.name), report)
        made |= {"sent": pushed.sent, "blobs": pushed.blobs}
        report(Event(Phase.PUSHING, f"Sent {pushed.blobs} blobs, {pushed.sent / 1e6:.1f} MB\n"))
    return made
