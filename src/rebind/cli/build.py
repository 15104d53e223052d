"""`rebind build`: makes the environment, and an image of it where one is asked for; starts nothing."""

from __future__ import annotations

from typing import Annotated

import typer

from rebind.cli.options import Address, AsOf, Data, Json, Ref, Subdir

Image = Annotated[
    str | None, typer.Option("--image", metavar="NAME", help="Write an image of this name.", show_default=False)
]
Push = Annotated[bool, typer.Option("--push", help="Send the image to its registry.")]
Output = Annotated[
    list[str] | None,
    typer.Option("--output", metavar="oci-archive:FILE|oci:DIR", help="Write the image there.", show_default=False),
]
Base = Annotated[
    str | None,
    typer.Option(
        "--base",
        metavar="KIND:PLACE",
        help="What the image lies on: docker://NAME, oci:DIR, oci-archive:FILE or tar:FILE.",
        show_default=False,
    ),
]
Label = Annotated[
    list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="Label of the image.", show_default=False)
]


def build(
    address: Address,
    ref: Ref = None,
    subdir: Subdir = "",
    as_of: AsOf = None,
    image: Image = None,
    push: Push = False,
    output: Output = None,
    base: Base = None,
    label: Label = None,
    json: Json = False,
    data: Data = None,
) -> None:
    """Make the repository's environment, so that a later launch only starts it, or an image of it."""
    from rebind import launch
    from rebind.cli.image import carry_out, wish
    from rebind.cli.output import Progress, print_json
    from rebind.cli.prepare import Asked, resolved
    from rebind.values import Event, Phase

    wished = wish(address, image, push, tuple(output or ()), tuple(label or ()))
    report = Progress(as_json=json)
    with resolved(Asked(address, ref, subdir, as_of, data, base), report) as (installation, wanted, commit):
        steps = installation.steps
        prepared = launch.remembered(steps, wanted, commit) or launch.prepare(steps, wanted, commit, report)
        made = carry_out(installation, prepared, wished, report) if wished else {}
    if json:
        report(Event(Phase.BUILT, "The environment is ready.\n"))
        print_json(
            {
                "environment": prepared.environment.digest,
                "path": str(prepared.environment.path),
                "commit": commit.id,
                "python": prepared.environment.python.version,
                **made,
            }
        )
    else:
        report(Event(Phase.BUILT, ""))
        print(made.get("digest", prepared.environment.digest))
