"""The command line: one file a command. Heavy modules are imported by the command that needs them."""

from __future__ import annotations

import signal
import sys
from types import FrameType

from rebind.errors import RebindError, disk_error


def main() -> None:
    """Runs the command line; the entry point `rebind`."""
    interrupted: list[int] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        interrupted.append(number)
        signal.default_int_handler(number, frame)

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else our caller wants it ignored
        signal.signal(signal.SIGINT, interrupt)
    try:
        _run()
    except (KeyboardInterrupt, SystemExit):
        if not interrupted:
            raise
        _show(RebindError("Stopped."))
        sys.exit(130)


def _run() -> None:
    from rebind.cli.app import app

    try:
        app()
    except RebindError as error:
        _show(error)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output is gone: nothing to say, nobody to say it to
        sys.exit(141)
    except Exception as error:
        known: RebindError | None = disk_error(error, "the data directory")
        if known is None:
            import traceback

            traceback.print_exception(error)
            known = RebindError(f"rebind itself failed: {type(error).__name__}: {error}")
        _show(known)
        sys.exit(1)


def _show(error: RebindError) -> None:
    from rebind.cli.output import show_error

    show_error(error, as_json="--json" in _own_arguments())


def _own_arguments() -> list[str]:
    arguments = sys.argv[1:]
    return arguments[: arguments.index("--")] if "--" in arguments else arguments
