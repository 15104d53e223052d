"""Fixtures of the tests of the providers."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest_providers import Lines, Repository

from rebind.providers.git import GitProvider


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "served" / "repository")


@pytest.fixture
def other(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "served" / "other")


@pytest.fixture
def served(tmp_path: Path) -> Path:
    (tmp_path / "served").mkdir(exist_ok=True)
    return tmp_path / "served"


@pytest.fixture
def provider(tmp_path: Path) -> GitProvider:
    """As on a person's own machine."""
    return GitProvider(cache=tmp_path / "cache", allow_local=True)


@pytest.fixture
def public(tmp_path: Path) -> GitProvider:
    """As on a hub that strangers use."""
    return GitProvider(cache=tmp_path / "cache-public")


@pytest.fixture
def lines() -> Lines:
    return Lines()
