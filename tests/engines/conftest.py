"""Fixtures for tests that start sessions."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from rebind.engines.process.answer import UnixConnection
from rebind.values import Session, SessionRequest
from session_fixtures import Notebook, engine, environment, make_layer, make_request, server, sessions_folder

__all__ = ["engine", "environment", "make_layer", "make_request", "server", "sessions_folder"]


def ask(
    session: Session,
    request: SessionRequest,
    path: str,
    *,
    method: str = "GET",
    body: object = None,
    headers: dict[str, str] | None = None,
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers (names in lower case) and body; with the token, if no headers are given."""
    connection = UnixConnection(session.socket, 60)
    try:
        text = None if body is None else json.dumps(body)
        sent = {"Authorization": f"token {request.token}"} if headers is None else headers
        connection.request(method, request.base_url + path, text, sent)
        response = connection.getresponse()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
    finally:
        connection.close()


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
