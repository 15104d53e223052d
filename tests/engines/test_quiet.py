"""JupyterLab in a session calls nobody and asks nothing, whichever way its server is started."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest

from rebind.engines.process import ProcessEngine
from rebind.engines.suite import MakeRequest, quiet
from rebind.values import Environment, Layer, SessionRequest
from session_fixtures import ask

pytestmark = [pytest.mark.session, pytest.mark.network]

MakeLayer = Callable[..., Layer]


@pytest.fixture(params=["forked", "start script", "joined"])
def wanted(
    request: pytest.FixtureRequest, make_request: MakeRequest, make_layer: MakeLayer, joined: Environment
) -> SessionRequest:
    if request.param == "forked":
        return make_request("quiet-forked")
    if request.param == "joined":
        return make_request("quiet-joined", environment=joined)
    return make_request("quiet-script", layers=(make_layer({"start": 'exec "$@"\n'}),), start="start")


def test_no_news_no_updates_no_catalogue(engine: ProcessEngine, wanted: SessionRequest) -> None:
    session = engine.start(wanted, quiet)
    try:
        settings = json.loads(ask(session, wanted, "lab/api/settings/@jupyterlab/apputils-extension:notification")[2])
        assert settings["schema"]["properties"]["fetchNews"]["default"] == "false"
        assert settings["schema"]["properties"]["checkForUpdates"]["default"] is False
        page = ask(session, wanted, "lab")[2].decode()
        found = re.search(r'<script id="jupyter-config-data"[^>]*>(.*?)</script>', page, re.S)
        assert found, page
        config = json.loads(found[1])
        assert config["news"] == {"disabled": True}
        assert config["extensionManager"]["can_install"] is False
        assert json.loads(ask(session, wanted, "lab/api/update")[2])["notification"] is None
    finally:
        engine.stop(session)


def test_a_repository_may_want_the_news(
    engine: ProcessEngine, make_request: MakeRequest, make_layer: MakeLayer
) -> None:
    wish = {"@jupyterlab/apputils-extension:notification": {"fetchNews": "true"}}
    layer = make_layer({".jupyter/labconfig/default_setting_overrides.json": json.dumps(wish)})
    wanted = make_request("quiet-not", layers=(layer,))
    session = engine.start(wanted, quiet)
    try:
        settings = json.loads(ask(session, wanted, "lab/api/settings/@jupyterlab/apputils-extension:notification")[2])
        assert settings["schema"]["properties"]["fetchNews"]["default"] == "true"
    finally:
        engine.stop(session)
