"""The command line: one file a command. Heavy modules are imported by the command that needs them."""

from __future__ import annotations

import sys
import traceback

from rebind.errors import RebindError, disk_error


def main() -> None:
    """Runs the command line; the entry point `rebind`."""
    from rebind.cli.app import app
    from rebind.cli.output import show_error

    as_json = "--json" in _own_arguments()
    try:
        app()
    except RebindError as error:
        show_error(error, as_json=as_json)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output is gone: nothing to say, nobody to say it to
        sys.exit(141)
    except Exception as error:
        known = disk_error(error, "the data directory")
        if known is None and not as_json:
            raise
        show_error(known or _defect(error), as_json=as_json)
        sys.exit(1)


def _defect(error: Exception) -> RebindError:
    """What programs are told of an error that nobody foresaw; its traceback goes to people."""
    traceback.print_exception(error)
    return RebindError(f"rebind itself failed: {type(error).__name__}: {error}")


def _own_arguments() -> list[str]:
    arguments = sys.argv[1:]
    return arguments[: arguments.index("--")] if "--" in arguments else arguments
