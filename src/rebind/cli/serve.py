"""`rebind serve`: the launch page and its sessions, for many people."""

from __future__ import annotations

from typing import Annotated

import typer

from rebind.cli.options import Data, Json


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.", show_default=False)] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one.", show_default=False)] = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """Serve the launch page, the launch API and the sessions of a hub until it is stopped."""
    from rebind.cli.hub import serve_hub
    from rebind.cli.options import flags
    from rebind.settings import load

    loaded, _ = load(flags(host=host, port=port, data=data))
    serve_hub(loaded, as_json=json)
