"""Our own API over launches."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from scripted_hub import BUILT, ScriptedHub, Served

from rebind.errors import AddressError, FullError, RefusedError

Serve = Callable[..., Served]
WANTED = json.dumps({"provider": "git", "spec": "x/HEAD", "as_of": "2020-01-01"}).encode()


def create(served: Served) -> str:
    answer = served.ask("/api/v1/launches", method="POST", body=WANTED)
    assert answer.status == 201
    body = json.loads(answer.body)
    assert answer.headers["location"] == f"/api/v1/launches/{body['id']}"
    return body["id"]


def test_create_read_cancel(serve: Serve) -> None:
    served = serve()
    id = create(served)
    assert served.hub.asked == [
        {"provider": "git", "spec": "x/HEAD", "origin": "http://hub.example/", "client": "", "as_of": "2020-01-01"}
    ]
    body = json.loads(served.ask(f"/api/v1/launches/{id}").body)
    assert (body["state"], body["link"], body["events"]) == (
        "running",
        "v2/git/x/HEAD",
        f"/api/v1/launches/{id}/events",
    )
    assert served.ask(f"/api/v1/launches/{id}", method="DELETE").status == 204
    assert served.hub.cancelled == [id]


def numbers(text: str) -> list[int]:
    return [int(line[4:]) for line in text.split("\n") if line.startswith("id: ")]


def test_events_go_on_behind_the_last_seen(serve: Serve) -> None:
    served = serve()
    path = f"/api/v1/launches/{create(served)}/events"
    assert numbers(served.ask(path).text) == [1, 2, 3, 4, 5, 6]
    assert numbers(served.ask(path, "Last-Event-ID: 4").text) == [5, 6]
    assert numbers(served.ask(path + "?after=5").text) == [6]
    assert numbers(served.ask(path + "?after=1", "Last-Event-ID: 5").text) == [6]
    assert len(served.hub.asked) == 1


@pytest.mark.parametrize("seen", ["x", "-1", "1.5", "٣", "", "999999999999999999999999"])
def test_a_strange_last_event_id_is_no_error(serve: Serve, seen: str) -> None:
    served = serve()
    path = f"/api/v1/launches/{create(served)}/events"
    answer = served.ask(path, f"Last-Event-ID: {seen}")
    assert answer.status == 200
    assert len(numbers(answer.text)) in (0, len(BUILT))


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_unknown_launch(serve: Serve, method: str) -> None:
    served = serve()
    for path in ("/api/v1/launches/nobody", "/api/v1/launches/%2e%2e"):
        assert served.ask(path, method=method).status == 404
    assert served.ask("/api/v1/launches/nobody/events").status == 404


@pytest.mark.parametrize(
    ("error", "status"), [(AddressError("bad"), 400), (RefusedError("no"), 403), (FullError("full"), 429)]
)
def test_refusals_have_a_status(serve: Serve, error: Exception, status: int) -> None:
    served = serve(ScriptedHub(refuse=error))
    answer = served.ask("/api/v1/launches", method="POST", body=WANTED)
    assert answer.status == status
    assert str(error) in json.loads(answer.body)["message"]


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b"{}", b'{"provider": 1}', b'{"provider": "git", "spec": null}', b"\xff"]
)
def test_a_body_that_is_not_understood(serve: Serve, body: bytes) -> None:
    answer = serve().ask("/api/v1/launches", method="POST", body=body)
    assert answer.status in (400, 422)
    assert json.loads(answer.body)["message"]


def test_link(serve: Serve) -> None:
    served = serve()
    body = json.loads(served.ask("/api/v1/link?address=https%3A%2F%2Fgithub.com%2Fa%2Fb&path=n.ipynb").body)
    assert body["url"] == "http://hub.example/v2/gh/a/b/HEAD?labpath=n.ipynb"
    assert served.ask("/api/v1/link?address=what").status == 400


def test_the_api_is_described(serve: Serve) -> None:
    paths = json.loads(serve().ask("/api/v1/openapi.json").body)["paths"]
    assert {"/api/v1/launches", "/api/v1/launches/{id}", "/api/v1/launches/{id}/events", "/api/v1/link"} <= set(paths)
    assert all(operation.get("description") for path in paths.values() for operation in path.values())
