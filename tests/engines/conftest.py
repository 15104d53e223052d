"""Fixtures for tests that start sessions."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from rebind.values import Session, SessionRequest
from session_fixtures import (
    Notebook,
    ask,
    engine,
    environment,
    joined,
    make_layer,
    make_request,
    server,
    sessions_folder,
)

__all__ = ["engine", "environment", "joined", "make_layer", "make_request", "server", "sessions_folder"]


@pytest.fixture
def open_notebook() -> Iterator[Callable[..., Notebook]]:
    """A function that starts a kernel of a session."""
    with ExitStack() as stack:

        def start(session: Session, request: SessionRequest, name: str = "python") -> Notebook:
            status, _, body = ask(session, request, "api/kernels", method="POST", body={"name": name})
            assert status == 201, body
            notebook = Notebook(session, request, json.loads(body)["id"])
            stack.callback(notebook.close)
            return notebook

        yield start
