"""A hub with one place."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from tests.whole.programs import Hub, ask

pytestmark = [pytest.mark.session, pytest.mark.network]


def test_a_full_hub_lets_launches_wait_in_order(data: Path, repository: str) -> None:
    other = Hub(data, max_sessions="1", idle_timeout="3s").start()
    try:
        first = other.launch(repository)
        began = time.monotonic()
        events = list(other.events(repository))
        assert events[-1]["phase"] == "ready"
        assert any("full" in event["message"] for event in events)
        assert time.monotonic() - began > 1
        assert ask(first["url"] + "api", first["token"])[0] == 424  # idle: stopped
    finally:
        other.stop()
