"""Images pushed to a local registry: cold, with packages seen before, one more requirement, a changed notebook.

The stand-in for repo2docker is the Dockerfile that it would write, with pip in place of conda for the base environment
(a lower bound of its time), built by podman and pushed by it. Both sides lie on a bare Debian and push to one registry
on this machine. Theirs keeps the layers of its base environment but in `cold`; ours is the whole command
`rebind build --image --push`.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from bench import options, repository
from bench.figures import Figures
from bench.measure import Failed, Spent, run
from bench.options import Options
from bench.ours import Rebind
from bench.peers import podman
from bench.peers.podman import Podman

COLD, SEEN, MORE, NOTEBOOK = "cold", "packages seen before", "one more requirement", "notebook changed"
NEEDS = ("numpy", "pandas", "matplotlib", "scikit-learn")
SIDE = "podman, pip"
_SERVER = "jupyterlab notebook jupyterhub jupyter-server-proxy jupyter-resource-usage nbgitpuller ipykernel ipywidgets"
_DOCKERFILE = f"""FROM {podman.BASE}
RUN useradd -m -u 1000 jovyan && mkdir -p /srv && chown jovyan /srv
USER jovyan
RUN python3 -m venv {podman.PREFIX} && {podman.PREFIX}/bin/pip install -q --no-cache-dir {_SERVER}
COPY --chown=1000:1000 requirements.txt /home/jovyan/
RUN {podman.PREFIX}/bin/pip install -q --no-cache-dir -r /home/jovyan/requirements.txt
COPY --chown=1000:1000 . /home/jovyan
"""
_REGISTRY = """version: 0.1
storage: {{filesystem: {{rootdirectory: {folder}}}, delete: {{enabled: true}}}}
http: {{addr: "127.0.0.1:{port}"}}
log: {{level: error, accesslog: {{disabled: true}}}}
"""
_PACKAGES = "ca-certificates,git,curl,less,unzip,gettext-base,locales,libexpat1,libsqlite3-0,libssl3,libffi8,python3"


@contextmanager
def registry(room: Path) -> Iterator[str]:
    """An empty docker-registry; gives host and port."""
    if shutil.which("docker-registry") is None:
        raise Failed("absent: docker-registry; on Debian: apt install docker-registry")
    shutil.rmtree(room, ignore_errors=True)
    room.mkdir(parents=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (room / "config.yml").write_text(_REGISTRY.format(folder=room / "data", port=port))
    process = subprocess.Popen(["docker-registry", "serve", room / "config.yml"], stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            with suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/").close()
                break
            time.sleep(0.05)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def size(host: str, name: str, base_layers: int) -> float:
    """Megabytes of an image in the registry, over its base."""
    request = urllib.request.Request(
        f"http://{host}/v2/{name}/manifests/latest",
        headers={"Accept": "application/vnd.oci.image.manifest.v1+json"},
    )
    with urllib.request.urlopen(request) as answer:
        layers = json.load(answer)["layers"]
    return sum(float(layer["size"]) for layer in layers[base_layers:]) / 1e6


class Ours:
    """`rebind build --image --push`."""

    def __init__(self, data: Path, base: Path, host: str) -> None:
        self.rebind, self.base, self.host = Rebind(data), base, host

    def push(self, folder: Path, name: str) -> Spent:
        return self.rebind("build", folder, "--base", f"tar:{self.base}", "--image", f"{self.host}/{name}", "--push")


class Theirs:
    """`podman build` and `podman push`."""

    def __init__(self, engine: Podman, host: str) -> None:
        self.engine, self.host = engine, host

    def push(self, folder: Path, name: str, *, fresh: bool = False) -> Spent:
        recipe = self.engine.room / "Dockerfile.image"
        recipe.write_text(_DOCKERFILE)
        tag = f"{self.host}/{name}"
        flags = ["--no-cache"] if fresh else ["--layers"]
        built = self.engine("build", "-q", *flags, "-t", tag, "-f", recipe, folder)
        pushed = self.engine("push", "-q", "--tls-verify=false", tag)
        return Spent(built.wall + pushed.wall, built.cpu + pushed.cpu, "")


def base(room: Path) -> Path:
    """A bare Debian as tar, made once."""
    path = room / "base.tar"
    if not path.exists():
        run(["mmdebstrap", "--variant=minbase", f"--include={_PACKAGES}", "bookworm", path])
    return path


def note(figures: Figures, case: str, side: str, spent: Spent) -> None:
    figures.add(case, side, "s wall", spent.wall)
    figures.add(case, side, "s cpu", spent.cpu)


def cold(figures: Figures, ours: Ours, theirs: Theirs | None, folder: Path) -> None:
    """Once: nothing is kept on either side but the base image (in the registry for both)."""
    shutil.rmtree(ours.rebind.data, ignore_errors=True)
    note(figures, COLD, "ours", ours.push(folder, "ours"))
    figures.add("image over its base", "ours", "MB", size(ours.host, "ours", 1))
    if theirs:
        note(figures, COLD, SIDE, theirs.push(folder, "theirs", fresh=True))
        figures.add("image over its base", SIDE, "MB", size(theirs.host, "theirs", 4))


def warm(figures: Figures, ours: Ours, theirs: Theirs | None, room: Path, number: int) -> None:
    """One repeat: new repositories whose packages are known, one with another requirement, a new notebook."""
    known = room / f"known-{number}"
    repository.make(known, repository.files((*NEEDS, f"six>={number / 1000 + 1}")))  # another file, the same packages
    for case, content in (
        (SEEN, {}),
        (MORE, {"requirements.txt": "\n".join([*NEEDS, repository.ONE_MORE, f"six>={number / 1000 + 1}\n"])}),
        (NOTEBOOK, {"index.ipynb": repository.notebook(f"{time.time_ns()}")}),
    ):
        repository.commit(known, content)
        if case == MORE:
            ours.rebind.forget(set(), locks=True)
        note(figures, case, "ours", ours.push(known, f"ours-{number}"))
        if theirs:
            note(figures, case, SIDE, theirs.push(known, f"theirs-{number}"))
    ours.rebind.forget(set(), locks=True)


def bench(given: Options) -> Figures:
    figures = Figures("images")
    figures.notes.append(" ".join((__doc__ or "").split()))
    room = given.room("images")
    engine = Podman(given.room("podman"))
    with registry(room / "registry") as host:
        theirs = Theirs(engine, host) if given.peers and podman.ready(engine) else None
        ours = Ours(room / "data", base(room), host)
        repository.make(room / "cold", repository.files(NEEDS))
        cold(figures, ours, theirs, room / "cold")
        for number in range(given.repeat):
            warm(figures, ours, theirs, room, number)
    return figures


def main(argv: Sequence[str] | None = None) -> None:
    given = options.parse(__doc__ or "", argv, repeat=3)
    bench(given).done(given.keep)


if __name__ == "__main__":
    main()
