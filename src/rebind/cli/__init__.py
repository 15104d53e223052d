"""The command line: one file a command. Heavy modules are imported by the command that needs them."""

from __future__ import annotations

import sys

from rebind.errors import RebindError


def main() -> None:
    """Runs the command line; the entry point `rebind`."""
    from rebind.cli.app import app
    from rebind.cli.output import show_error

    try:
        app()
    except RebindError as error:
        show_error(error, as_json="--json" in _own_arguments())
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output is gone: nothing to say, nobody to say it to
        sys.exit(141)


def _own_arguments() -> list[str]:
    arguments = sys.argv[1:]
    return arguments[: arguments.index("--")] if "--" in arguments else arguments
