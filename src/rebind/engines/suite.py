"""What every engine must do: inherit `EngineSuite` in a test module, and give two fixtures.

`engine`: a started `Engine`. `make_request(id, **changes)`: a SessionRequest that the engine can start, with
`dataclasses.replace` of what is given.
"""

from __future__ import annotations

import http.client
import os
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from rebind.engines import Engine
from rebind.errors import SessionError
from rebind.values import Event, Layer, Phase, Session, SessionRequest

MakeRequest = Callable[..., SessionRequest]


def get(session: Session, url: str, token: str = "") -> tuple[int, bytes]:
    """GET over the session's socket: status and body. Raises OSError or HTTPException if nothing answers."""
    connection = http.client.HTTPConnection("localhost", timeout=60)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(60)
    try:
        connection.sock.connect(os.fspath(session.socket))
        connection.request("GET", url, headers={"Authorization": f"token {token}"} if token else {})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def quiet(event: Event) -> None:
    """A `Report` that drops all."""


class EngineSuite:
    """The tests."""

    def test_a_started_session_answers_and_is_listed(self, engine: Engine, make_request: MakeRequest) -> None:
        events: list[Event] = []
        request = make_request("suite-answers")
        session = engine.start(request, events.append)
        try:
            assert (session.id, session.name, session.engine) == (request.id, request.name, engine.name)
            assert get(session, f"{request.base_url}api")[0] == 200
            assert engine.poll(session)
            assert session in engine.list()
            assert events
            assert {event.phase for event in events} == {Phase.LAUNCHING}
        finally:
            engine.stop(session)

    def test_only_the_token_opens_it(self, engine: Engine, make_request: MakeRequest) -> None:
        request = make_request("suite-token")
        session = engine.start(request, quiet)
        try:
            url = f"{request.base_url}api/contents"
            assert get(session, url, request.token)[0] == 200
            assert get(session, f"{url}?token={request.token}")[0] == 200
            assert get(session, url)[0] == 403
            assert get(session, url, "another")[0] == 403
        finally:
            engine.stop(session)

    def test_a_stopped_session_is_gone(self, engine: Engine, make_request: MakeRequest) -> None:
        session = engine.start(make_request("suite-stop"), quiet)
        engine.stop(session)
        assert not engine.poll(session)
        assert session not in engine.list()
        assert not session.socket.exists()
        engine.stop(session)  # nothing happens

    def test_one_id_is_one_session(self, engine: Engine, make_request: MakeRequest) -> None:
        request = make_request("suite-twice")
        session = engine.start(request, quiet)
        try:
            assert _fails(engine, request)
            assert get(session, f"{request.base_url}api")[0] == 200
            assert engine.list().count(session) == 1
        finally:
            engine.stop(session)

    def test_an_id_can_be_used_again(self, engine: Engine, make_request: MakeRequest) -> None:
        request = make_request("suite-again")
        for _ in range(2):
            session = engine.start(request, quiet)
            engine.stop(session)

    def test_a_poll_tells_another_process_of_the_same_pid(self, engine: Engine, make_request: MakeRequest) -> None:
        session = engine.start(make_request("suite-born"), quiet)
        try:
            assert not engine.poll(replace(session, born=session.born + 1))
            engine.stop(replace(session, id="suite-other", born=session.born + 1))
            assert engine.poll(session)
        finally:
            engine.stop(session)

    def test_a_start_that_fails_leaves_nothing(self, engine: Engine, make_request: MakeRequest) -> None:
        request = make_request("suite-fails", start="there/is/no/such/script")
        assert _fails(engine, request)
        assert "suite-fails" not in {session.id for session in engine.list()}

    def test_a_missing_layer_is_told(self, engine: Engine, make_request: MakeRequest) -> None:
        request = make_request("suite-layer")
        gone = Layer("0" * 64, request.environment.path / "no-such-layer")
        assert _fails(engine, replace(request, layers=(gone,)))

    def test_many_at_once(self, engine: Engine, make_request: MakeRequest) -> None:
        requests = [make_request(f"suite-many-{number}") for number in range(6)]
        with ThreadPoolExecutor(6) as pool:
            sessions = list(pool.map(lambda request: engine.start(request, quiet), requests))
        try:
            assert len({session.pid for session in sessions}) == 6
            for request, session in zip(requests, sessions, strict=True):
                assert get(session, f"{request.base_url}api/contents", request.token)[0] == 200
        finally:
            for session in sessions:
                engine.stop(session)


def _fails(engine: Engine, request: SessionRequest) -> bool:
    try:
        engine.start(request, quiet)
    except SessionError as error:
        return bool(str(error)) and bool(error.remedy)
    return False
