"""One resolution: what is asked, of whom, and as of when."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from rebind.locks.labels import HOST, TODAY, date_label
from rebind.locks.needs import Needs
from rebind.values import Interpreter, Layer

INDEX_URL = f"http://{HOST}"
"""The constant address of the dated index for every client; the egress proxy knows where it is."""
_NOW = timedelta(minutes=10)
_HANDLED = ("--pre", "--prefer-binary")


@dataclass(frozen=True, slots=True)
class Question:
    """Resolve these needs for this interpreter as of this date."""

    needs: Needs
    interpreter: Interpreter
    when: datetime
    system: Callable[[], Layer | None] | None = field(default=None, compare=False)
    """Makes the layer of the plan's Debian packages, which build code in the sandbox may need."""

    @property
    def label(self) -> str:
        """The date as a path of the index; `today` takes withdrawn files for withdrawn."""
        return TODAY if self.when >= datetime.now(UTC) - _NOW else date_label(self.when)

    @property
    def builds(self) -> bool:
        """Whether strangers' build code or addresses take part, so that only a sandbox will do."""
        return bool(self.needs.local) or self.needs.direct() or any(not plain(o) for o in self.needs.options)

    @property
    def described(self) -> str:
        day = "today" if self.label == TODAY else f"{self.when.astimezone(UTC):%Y-%m-%d %H:%M UTC}"
        return f"on Python {self.interpreter.version} as of {day}"


def plain(option: str) -> bool:
    """An option that makes no client fetch from elsewhere or build anything."""
    return option.split(" ")[0] in (*_HANDLED, "--only-binary")


def outside(options: tuple[str, ...]) -> tuple[str, ...]:
    """Addresses of the repository's own indexes and link pages: no date applies to them."""
    places = ("--index-url", "--extra-index-url", "--find-links")
    found = (option.split(" ", 1) for option in options if option.startswith(places))
    return tuple(parts[1] for parts in found if len(parts) == 2 and not _public(parts[1]))


def _public(address: str) -> bool:
    """The public index itself: the dated index stands for it."""
    return address.rstrip("/") in {
        f"{scheme}://{host}/{path}"
        for scheme in ("http", "https")
        for host in ("pypi.org", "pypi.python.org")
        for path in ("simple", "pypi")
    }


def uv_options(options: tuple[str, ...], index: str) -> list[str]:
    """uv's spelling of pip's global options; `index` is the dated index unless the repository names its own."""
    argv: list[str] = []
    for option in options:
        name, _, value = option.partition(" ")
        if name == "--pre":
            argv += ["--prerelease", "allow"]
        elif name == "--no-index":
            argv.append(name)
        elif name == "--index-url" and not _public(value):
            index = value
        elif name in ("--extra-index-url", "--find-links") and not _public(value):
            argv += [name, value]
        elif name == "--trusted-host":
            argv += ["--allow-insecure-host", value]
        elif name in ("--no-binary", "--only-binary"):
            argv += [name, value]
    # pip takes the best file of all indexes; uv's default, the first index that knows a name, gives other results
    return ["--index-url", index, "--index-strategy", "unsafe-best-match", *argv]
