"""What people and programs see: text for people on standard error, JSON for programs on standard output."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from rebind.errors import RebindError
from rebind.values import Event, Phase

_HEADINGS = {
    Phase.WAITING: "Preparing",
    Phase.FETCHING: "Fetching the repository",
    Phase.BUILDING: "Making the environment",
    Phase.PUSHING: "Pushing the image",
    Phase.BUILT: "Environment ready",
    Phase.LAUNCHING: "Starting the session",
    Phase.READY: "Ready",
}


def print_json(value: dict[str, Any]) -> None:
    print(json.dumps(value, ensure_ascii=False, default=str), flush=True)


def show_error(error: RebindError, *, as_json: bool = False) -> None:
    """An error, for a person and, when asked for, as a `failed` event for a program."""
    if as_json:
        print_json({"phase": "failed", "message": error.text() + "\n"})
        return
    red, plain = ("\x1b[1;31m", "\x1b[0m") if _coloured() else ("", "")
    parts = [f"{red}Error:{plain} {error}", error.detail.strip(), error.remedy]
    print("\n".join(part for part in parts if part), file=sys.stderr, flush=True)


def _coloured() -> bool:
    return sys.stderr.isatty()


class Progress:
    """Shows events as they come: on a terminal with a heading and the time of each step, else as plain lines."""

    def __init__(self, *, as_json: bool = False, quiet: bool = False) -> None:
        self.as_json = as_json
        self._quiet = quiet
        self._phase: Phase | None = None
        self._started = time.monotonic()

    def __call__(self, event: Event) -> None:
        if self.as_json:
            print_json(event.payload())
            return
        if self._quiet and event.phase is not Phase.FAILED:
            return
        self._heading(event.phase)
        if event.phase in (Phase.FETCHING, Phase.BUILDING, Phase.PUSHING, Phase.LAUNCHING):
            for line in _printable(event.message).splitlines():
                _say(f"  {line}")

    def _heading(self, phase: Phase) -> None:
        heading = _HEADINGS.get(phase)
        if phase is self._phase or heading is None:
            return
        self._phase = phase
        bold, plain = ("\x1b[1m", "\x1b[0m") if _coloured() else ("", "")
        spent = time.monotonic() - self._started
        _say(f"{bold}{heading}{plain} ({spent:.1f} s)")


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")  # in one piece: steps report from several threads
    sys.stderr.flush()


def _printable(text: str) -> str:
    """Without control characters: a log line is a stranger's and must not move the cursor or set the title."""
    return "".join(c for c in text if c.isprintable() or c in "\n\t")
