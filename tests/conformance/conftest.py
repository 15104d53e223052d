"""The fixture `serve`: a hub with a script, served. Those of the whole program: one data directory, a git server."""

from scripted_hub import serve
from tests.whole.conftest import data, git_url, hub, publish, served

__all__ = ["data", "git_url", "hub", "publish", "serve", "served"]
