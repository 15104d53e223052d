"""Dockerfiles with pip and with uv, built by podman on a bare Debian base image.

As fair to the peers as could be made: the base image (Debian, Python, uv, certificates) is made once and not timed; the
package caches of pip and uv are warm and mounted into the build (`--mount=type=cache`), so nothing is downloaded but
index pages; storage is native overlay, network the host's. The files that are installed are those of rebind's kernel
environment: the requirements, ipykernel and ipywidgets. uv compiles no `.pyc`, as by its default (pip and rebind do).
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from bench.measure import Failed, Spent, environ, run

BASE = "localhost/rebind-bench-base"
PREFIX = "/srv/conda/envs/notebook"
ALWAYS = "ipykernel ipywidgets"

_CONTAINERS = """[containers]
default_ulimits = ["nofile=20000:20000", "nproc=4096:4096"]
netns = "host"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "none"
tmp_dir = "{room}/tmp"
"""
_STORAGE = '[storage]\ndriver = "overlay"\ngraphroot = "{room}/storage"\nrunroot = "{room}/run"\n'
_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
_BASE = f"""FROM localhost/rebind-bench-debian
COPY certificates.crt {_CERTIFICATES}
ENV SSL_CERT_FILE={_CERTIFICATES} PIP_CERT={_CERTIFICATES} PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python3 -m venv /opt/uv && /opt/uv/bin/pip install -q uv && ln -s /opt/uv/bin/uv /usr/local/bin/uv
"""
_MAKE = {"pip": f"RUN python3 -m venv {PREFIX}", "uv": f"RUN uv venv -q -p /usr/bin/python3 {PREFIX}"}
_INSTALL = {
    "pip": f"{PREFIX}/bin/pip install -q -r /tmp/requirements.txt {ALWAYS}",
    "uv": f"uv pip install -q -p {PREFIX} -r /tmp/requirements.txt pip {ALWAYS}",
}


def dockerfile(tool: str) -> str:
    """The Dockerfile of a careful person who uses `tool`: requirements before the repository's other files."""
    return f"""FROM {BASE}
{_MAKE[tool]}
COPY requirements.txt /tmp/
RUN --mount=type=cache,target=/root/.cache/{tool} {_INSTALL[tool]}
COPY . /home/jovyan
"""


class Podman:
    """podman with storage and settings of its own below `room`."""

    def __init__(self, room: Path) -> None:
        self.room = room

    @staticmethod
    def missing() -> list[str]:
        """Programs that are needed and absent."""
        return [program for program in ("podman", "runc", "mmdebstrap") if shutil.which(program) is None]

    def prepare(self) -> None:
        """Settings and base image; does nothing when they are there. Raises Failed."""
        if missing := self.missing():
            raise Failed(f"absent: {', '.join(missing)}; on Debian: apt install {' '.join(missing)}")
        if os.getuid() != 0:
            raise Failed("the peers under podman need root here")
        (self.room / "containers.conf").write_text(_CONTAINERS.format(room=self.room))
        (self.room / "storage.conf").write_text(_STORAGE.format(room=self.room))
        if self._there(BASE):
            return
        context = self.room / "base"
        context.mkdir(exist_ok=True)
        packages = "python3,python3-venv,python3-pip,ca-certificates"
        run(["mmdebstrap", "--variant=minbase", f"--include={packages}", "bookworm", context / "debian.tar"])
        self("import", context / "debian.tar", "localhost/rebind-bench-debian")
        (context / "debian.tar").unlink()
        shutil.copy(os.environ.get("SSL_CERT_FILE", _CERTIFICATES), context / "certificates.crt")
        (context / "Dockerfile").write_text(_BASE)
        self("build", "-q", "-t", BASE, context)

    def __call__(self, *argv: str | Path) -> Spent:
        settings = {
            "CONTAINERS_CONF": str(self.room / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(self.room / "storage.conf"),
        }
        return run(["podman", *argv], env=environ(**settings))

    def _there(self, image: str) -> bool:
        try:
            self("image", "exists", image)
        except Failed:
            return False
        return True

    def build(self, tool: str, context: Path, tag: str, *, fresh: bool) -> Spent:
        """Builds the repository at `context`; `fresh` uses no layer of an earlier build."""
        recipe = self.room / f"Dockerfile.{tool}"
        recipe.write_text(dockerfile(tool))
        (self.room / "ignore").write_text(".git\n")
        flags = ["--no-cache"] if fresh else ["--layers"]
        ignore = f"--ignorefile={self.room / 'ignore'}"
        return self("build", "-q", *flags, ignore, "-t", f"localhost/{tag}", "-f", recipe, context)

    def forget(self, tag: str) -> None:
        """Removes an image and the layers that only it has."""
        if self._there(f"localhost/{tag}"):
            self("rmi", "-f", f"localhost/{tag}")

    def prune(self) -> None:
        """Removes images without a name, and containers of builds that were interrupted."""
        self("image", "prune", "--force", "--external")


def ready(podman: Podman) -> bool:
    """Prepares podman; says why not and gives False if it cannot be used."""
    try:
        podman.prepare()
    except (Failed, subprocess.SubprocessError, OSError) as error:
        print(f"The peers under podman are left out: {error}")
        return False
    return True
