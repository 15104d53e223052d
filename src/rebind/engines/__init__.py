"""Step 6: an environment -> a running session.

An engine runs something isolated on one kind of host. A stranger's engine is done when it passes `engines.suite`.
"""

from __future__ import annotations

from typing import Protocol

from rebind.values import Report, Session, SessionRequest


class Engine(Protocol):
    """Starts, watches and ends sessions. Every method may be called from any thread."""

    name: str
    """`process`, `container`, ...; a session carries it."""

    def start(self, request: SessionRequest, report: Report) -> Session:
        """Starts a session; returns when its server answers.

        Raises SessionError if it does not (with the end of its log), SandboxError if this machine does not allow the
        confinement. Nothing is left of a session whose start failed.
        """
        ...

    def stop(self, session: Session) -> None:
        """Ends the session and all that it started; returns when it is gone. Nothing happens if it is gone already."""
        ...

    def poll(self, session: Session) -> bool:
        """Whether the session lives."""
        ...

    def list(self) -> tuple[Session, ...]:
        """What really runs, whoever started it; removes what dead sessions left behind."""
        ...
