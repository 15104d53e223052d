from __future__ import annotations

from pathlib import Path

import pytest

from rebind.engines.process.widgets import jupyter_path, widget_mounts, widgets_version
from rebind.sandbox import Text
from rebind.values import NB_PREFIX, Environment, Interpreter

OWN = "/srv/conda/envs/notebook/share/jupyter"


def having(path: Path, *names: str) -> Environment:
    """An environment with these folders in its site-packages."""
    for name in names:
        (path / NB_PREFIX.lstrip("/") / "lib/python3.7/site-packages" / name).mkdir(parents=True)
    return Environment("e" * 64, path, Interpreter("3.7.17", Path("/usr"), Path("/usr/bin/python3")))


@pytest.mark.parametrize(
    ("names", "version"),
    [
        (["ipywidgets-8.1.2.dist-info", "ipywidgets"], 8),
        (["ipywidgets-7.6.3.dist-info"], 7),
        (["ipywidgets-6.0.0.dist-info"], 6),
        (["ipywidgets-nonsense.dist-info"], None),
        (["ipywidgets_bokeh-1.0.dist-info"], None),
        ([], None),
    ],
)
def test_the_version(tmp_path: Path, names: list[str], version: int | None) -> None:
    assert widgets_version(having(tmp_path, *names)) == version


def test_ipywidgets_8_brings_its_own(tmp_path: Path) -> None:
    environment = having(tmp_path, "ipywidgets-8.0.0.dist-info")
    assert jupyter_path(environment) == OWN
    assert widget_mounts(environment) == ()


def test_ipywidgets_7_gets_the_servers_before_the_one_that_came_with_it(tmp_path: Path) -> None:
    environment = having(tmp_path, "ipywidgets-7.7.2.dist-info")
    assert jupyter_path(environment).split(":") == ["/opt/rebind/server/share/jupyter", OWN]
    assert widget_mounts(environment) == ()


def test_before_7_there_is_none(tmp_path: Path) -> None:
    (mount,) = widget_mounts(having(tmp_path, "ipywidgets-6.0.0.dist-info"))
    assert isinstance(mount, Text)
    assert "jupyterlab-manager" in mount.content
