"""The fronts for browsers and programs: pages, the launch API of BinderHub, a small API of our own.

Nothing here decides anything: a launch is created with the hub and watched through its events. The application is made
by `rebind.web.app.create_app` and served on a Unix socket behind the proxy.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from rebind.values import Event


class LaunchSummary(Protocol):
    """What the API tells of a launch; the hub's own record fits."""

    @property
    def id(self) -> str: ...
    @property
    def link(self) -> str:
        """`v2/<provider>/<spec>` as asked for."""

    @property
    def state(self) -> str:
        """`queued`, `running`, `ready`, `failed` or `cancelled`."""

    @property
    def error(self) -> str | None: ...
    @property
    def created(self) -> float: ...
    @property
    def updated(self) -> float: ...


class HubFront(Protocol):
    """What the web needs of the hub. The methods that are not async may block; they are called in threads."""

    def create_launch(self, provider: str, raw_spec: str, *, origin: str, client: str, as_of: str | None) -> str:
        """Starts a launch and gives its id, which nobody can guess. Raises RebindError.

        `raw_spec` is still percent-encoded; `origin` is the hub's own address as the visitor sees it and ends in `/`;
        `client` the visitor's IP address.
        """

    def launch(self, id: str, /) -> LaunchSummary:
        """Raises AddressError if there is no such launch."""

    def events(self, id: str, /, after: int = 0) -> AsyncIterator[tuple[int, Event]]:
        """Replays what is recorded after number `after`, then follows; ends after `ready` or `failed`.

        The extra of `ready` holds `url, token, image, repo_url, binder_ref_url, binder_launch_host, binder_request,
        binder_persistent_request, binder_client_ip`. Raises AddressError if there is no such launch.
        """

    def cancel(self, id: str, /) -> None:
        """Ends a launch and its session. Raises AddressError if there is no such launch."""

    def health(self) -> Mapping[str, object]:
        """The object of launch-api 1.8."""

    def versions(self) -> Mapping[str, object]:
        """The object of launch-api 1.8; holds the key `binderhub`."""

    def providers(self) -> Sequence[Mapping[str, Any]]:
        """Display configurations of launch-api 1.3: `displayName, id, spec, repo, ref` and perhaps `detect`."""


@dataclass(frozen=True, slots=True)
class WebSettings:
    """What an operator decides about the pages."""

    base_url: str = "/"
    """Path of the hub below its host; begins and ends with a slash."""
    public_url: str = ""
    """Address of the hub as people see it; '' takes it from each request."""
    cors_allow_origin: str = "*"
    """'' for none."""
    banner: str = ""
    """Text on top of every page."""
    about: str = ""
    """Text of the about page; an empty line begins a paragraph."""
    badge_base_url: str = ""
    """Where badge links point; '' for this hub."""
    version: str = ""
    keepalive: float = 25.0
    """Seconds between two comments in an event stream."""
    linger: float = 60.0
    """Seconds that an event stream stays open after its end, so that a browser that does not close it cannot come
    back at once and launch anew."""
    log_lines: int = 400
    """Lines shown by the page that works without scripts."""
