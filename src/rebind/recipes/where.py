"""A place in a configuration file, and how a stranger's text is shown in a message."""

from __future__ import annotations

from dataclasses import dataclass

from rebind.errors import RecipeError

_SHOWN = 80


@dataclass(frozen=True, slots=True)
class Where:
    """A line of a file; `line` None means the file as a whole."""

    file: str
    line: int | None = None

    def __str__(self) -> str:
        return self.file if self.line is None else f"{self.file} line {self.line}"

    def error(self, what: str, remedy: str = "") -> RecipeError:
        """The error to raise: `what` follows the place."""
        return RecipeError(f"{self}: {what}", remedy=remedy)


def shown(text: str) -> str:
    """`text` in quotes, cut short, with control characters escaped: it was written by a stranger."""
    return repr(text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "...")
