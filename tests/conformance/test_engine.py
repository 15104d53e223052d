"""The engine suite, on every engine of ours."""

from __future__ import annotations

import pytest

from rebind.engines.suite import EngineSuite
from session_fixtures import engine, environment, make_request, server

__all__ = ["engine", "environment", "make_request", "server"]

pytestmark = [pytest.mark.session, pytest.mark.network]


class TestProcessEngine(EngineSuite):
    """The process engine."""
