"""What a provider that speaks HTTP may use of the network and the disk."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from rebind.providers.archives import MAX_FILES, Budget
from rebind.providers.command import Watch
from rebind.providers.http import Http
from rebind.values import Report


@dataclass(frozen=True, slots=True)
class Online:
    """Limits of one provider. `proxy_url`: the proxy that everything goes through (None: directly)."""

    proxy_url: str | None = None
    timeout: float | None = None
    max_bytes: int | None = None
    max_files: int = MAX_FILES
    pause: float = 1.0
    """Seconds before a request that failed is made again."""

    def watch(self, named: str, report: Report | None = None) -> Watch:
        """A fresh limit of time."""
        return Watch(report, time.monotonic() + self.timeout if self.timeout else None, named=named)

    def http(self, watch: Watch, tokens: Mapping[str, str] | None = None) -> Http:
        """Connections for one piece of work; see Http for `tokens`."""
        return Http(self.proxy_url, watch, tokens or {}, self.pause)

    def budget(self, watch: Watch) -> Budget:
        """A fresh limit of bytes and files."""
        return Budget(watch, self.max_bytes, self.max_files)
