# Runs inside a session, with any Python from 2.7 on.
# ruff: noqa
# mypy: allow-any-generics, no-warn-return-any
"""conda, mamba and micromamba, as far as a session needs them: they say what is installed, and install nothing."""

import glob
import io
import json
import os
import signal
import sys

ROOT = os.environ.get("MAMBA_ROOT_PREFIX") or "/srv/conda"
VERSIONS = {"conda": "26.3.2", "mamba": "2.8.1", "micromamba": "2.8.1"}


def environments():
    # type: () -> list
    names = [ROOT] + sorted(glob.glob(os.path.join(ROOT, "envs", "*")))
    return [path for path in names if os.path.isdir(path)]


def packages(prefix):
    # type: (str) -> list
    found = []
    for path in glob.glob(os.path.join(prefix, "conda-meta", "*.json")):
        with io.open(path, encoding="utf-8") as stream:
            record = json.load(stream)
        channel = record.get("channel", "")
        found.append(
            {
                "base_url": channel.rpartition("/")[0] and channel,
                "build_number": record.get("build_number", 0),
                "build_string": record["build"],
                "channel": channel.rstrip("/").rpartition("/")[2],
                "dist_name": "%s-%s-%s" % (record["name"], record["version"], record["build"]),
                "name": record["name"],
                "platform": record.get("subdir", ""),
                "version": record["version"],
            }
        )
    return sorted(found + of_pip(prefix, {each["name"] for each in found}), key=lambda each: each["name"])


def of_pip(prefix, known):
    # type: (str, set) -> list
    found = []
    for path in glob.glob(os.path.join(prefix, "lib", "python*", "site-packages", "*.dist-info")):
        installer = os.path.join(path, "INSTALLER")
        name, _, version = os.path.basename(path)[: -len(".dist-info")].partition("-")
        name = name.lower().replace("_", "-")
        if name in known or not os.path.isfile(installer) or open(installer).read().strip() == "conda":
            continue
        found.append(
            {
                "base_url": "https://pypi.org",
                "build_number": 0,
                "build_string": "pypi_0",
                "channel": "pypi",
                "dist_name": "%s-%s-pypi_0" % (name, version),
                "name": name,
                "platform": "pypi",
                "version": version,
            }
        )
    return found


def option(arguments, *names):
    # type: (list, *str) -> str
    for at, word in enumerate(arguments[:-1]):
        if word in names:
            return arguments[at + 1]
    return ""


def prefix_of(arguments):
    # type: (list) -> str
    name = option(arguments, "-n", "--name")
    if name:
        return ROOT if name in ("base", "root") else os.path.join(ROOT, "envs", name)
    return option(arguments, "-p", "--prefix") or os.environ.get("CONDA_PREFIX") or ROOT


def show(value):
    # type: (object) -> int
    print(json.dumps(value, indent=2))
    return 0


def list_packages(arguments):
    # type: (list) -> int
    prefix = prefix_of(arguments)
    found = packages(prefix)
    words = [word for word in arguments if not word.startswith("-") and word not in (prefix,)]
    if words and words[-1] not in (option(arguments, "-n", "--name"),):
        found = [each for each in found if words[-1] in each["name"]]
    if "--json" in arguments:
        return show(found)
    print("# packages in environment at %s:\n#" % prefix)
    print("# %-23s %-16s %-20s %s" % ("Name", "Version", "Build", "Channel"))
    for each in found:
        print("%-25s %-16s %-20s %s" % (each["name"], each["version"], each["build_string"], each["channel"]))
    return 0


def information(arguments):
    # type: (list) -> int
    facts = {
        "active_prefix": os.environ.get("CONDA_PREFIX") or None,
        "channels": ["https://conda.anaconda.org/conda-forge"],
        "conda_version": VERSIONS["conda"],
        "default_prefix": os.environ.get("CONDA_PREFIX") or ROOT,
        "envs": environments(),
        "platform": os.environ.get("CONDA_PLATFORM", "linux-64"),
        "python_version": "%s.final.0" % ".".join(map(str, sys.version_info[:3])),
        "root_prefix": ROOT,
    }
    if "--json" in arguments:
        return show(facts)
    for name in sorted(facts):
        print("%20s : %s" % (name, facts[name]))
    return 0


def list_environments(arguments):
    # type: (list) -> int
    if "--json" in arguments:
        return show({"envs": environments()})
    print("# conda environments:\n#")
    for path in environments():
        name = "base" if path == ROOT else os.path.basename(path)
        print("%-20s %s %s" % (name, "*" if path == os.environ.get("CONDA_PREFIX") else " ", path))
    return 0


def main(program, arguments):
    # type: (str, list) -> int
    words = [word for word in arguments if not word.startswith("-")]
    if "--version" in arguments or "-V" in arguments or words[:1] == ["version"]:
        version = VERSIONS.get(program, VERSIONS["conda"])
        print(version if program == "micromamba" else "%s %s" % (program, version))
        return 0
    if words[:1] == ["list"]:
        return list_packages(arguments[arguments.index("list") + 1 :])
    if words[:1] == ["info"]:
        return information(arguments)
    if words[:2] == ["env", "list"]:
        return list_environments(arguments)
    if words[:1] in (["activate"], ["deactivate"], ["clean"], ["config"], []):
        return 0
    sys.stderr.write(
        "%s %s: not possible here. This environment was installed by rebind, which has no conda in it.\n"
        "Put the packages into environment.yml and launch again, or use pip for packages of PyPI.\n"
        % (program, " ".join(words[:2]))
    )
    return 1


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # as in `conda list | head`
    sys.exit(main(os.path.basename(sys.argv[0]), sys.argv[1:]))
