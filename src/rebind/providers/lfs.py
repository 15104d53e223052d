"""Files of Git LFS: fetched into the cache, from which git-lfs then takes them.

Where everything must go through a proxy, git-lfs cannot be trusted with it: it reaches loopback addresses directly
(seen with 3.3), and a server's answer may name any. Then its files are fetched here, by its own protocol (git-lfs
docs/api/batch.md, basic transfer), and git-lfs is left with nothing to ask.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import ssl
import time
from base64 import b64encode
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib import request as http
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from rebind.errors import RepositoryError
from rebind.providers.access import CREDENTIALS, Access
from rebind.providers.addresses import GitURL, parse_url
from rebind.providers.command import Call, Git, Watch, too_large
from rebind.values import Event, Phase

OFFLINE = "http://lfs.invalid/"
_TYPE = "application/vnd.git-lfs+json"
_MANY = 100  # objects asked for at once, as git-lfs does
_POINTER = re.compile(rb"version https?://[^\n]+\n(?:ext-[^\n]+\n)*oid sha256:([0-9a-f]{64})\nsize (\d{1,18})\n")
_SERVER = re.compile(r"https?://[A-Za-z0-9._\-\[\]:]+(?:/[^\s@\\]*)?")


@dataclass(frozen=True, slots=True)
class Large:
    """One file: its SHA-256 and size, as a pointer in the repository states them."""

    id: str
    size: int


def lfs_server(git: Git, git_dir: Path, commit: str, url: GitURL, stated: bool) -> str:
    """Where the files are. An `.lfsconfig` (`stated`) may name another web server, never a path of this machine."""
    if stated:
        blob = f"--blob={commit}:.lfsconfig"
        done = git.run(Call(["config", blob, "--no-includes", "--get", "lfs.url"], git_dir=git_dir))
        server = done.text.strip()
        if done.code == 0 and len(server) < 1000 and _SERVER.fullmatch(server):
            return server
    if url.protocol in ("http", "https"):
        return f"{url.text.rstrip('/').removesuffix('.git')}.git/info/lfs"
    if url.protocol == "ssh" and git.access.proxy_url:
        return f"https://{url.host}/{url.path.strip('/').removesuffix('.git')}.git/info/lfs"
    return url.text


def find_pointers(git: Git, git_dir: Path, blobs: Iterable[str], watch: Watch) -> list[Large]:
    """The files that any of the blobs is a pointer to."""
    names = "".join(f"{blob}\n" for blob in dict.fromkeys(blobs)).encode()
    if not names:
        return []
    out = git.run(Call(["cat-file", "--batch"], git_dir=git_dir, stdin=names, watch=watch)).out
    found: dict[str, Large] = {}
    at = 0
    while (end := out.find(b"\n", at)) >= 0:
        size = out[at:end].rsplit(b" ", 1)[-1]
        if not size.isdigit():  # missing
            at = end + 1
            continue
        content = out[end + 1 : end + 1 + int(size)]
        if match := _POINTER.match(content):
            found[match[1].decode()] = Large(match[1].decode(), int(match[2]))
        at = end + 2 + int(size)
    return list(found.values())


def fetch_large(access: Access, server: str, wanted: list[Large], storage: Path, watch: Watch) -> None:
    """Fetches what is not in the storage yet, through the proxy. Raises RepositoryError."""
    missing = [each for each in wanted if not place(storage, each.id).exists()]
    if not missing:
        return
    if watch.max_bytes and sum(each.size for each in missing) > watch.max_bytes:
        raise too_large(watch.named, watch.max_bytes)
    if watch.report is not None:
        megabytes = sum(each.size for each in missing) / 1e6
        watch.report(Event(Phase.FETCHING, f"Git LFS: {len(missing)} files, {megabytes:.1f} MB\n"))
    opener = _opener(access)
    try:
        for start in range(0, len(missing), _MANY):
            some = {each.id: each for each in missing[start : start + _MANY]}
            for answer in _ask(access, opener, server, list(some.values())):
                if isinstance(answer, dict) and answer.get("oid") in some:
                    with _give(access, opener, answer) as stream:
                        large = some.pop(answer["oid"])
                        _store(stream, large, place(storage, large.id), watch)
            if some:
                raise _failed(watch, f"{next(iter(some))} is not on the server {server}.")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        detail = f"{error} ({error.url})" if isinstance(error, HTTPError) else str(error)
        raise _failed(watch, detail) from error


def place(storage: Path, oid: str) -> Path:
    """Where git-lfs looks for a file."""
    return storage / "objects" / oid[:2] / oid[2:4] / oid


def _failed(watch: Watch, detail: str) -> RepositoryError:
    return RepositoryError(
        f"The files that {watch.named} keeps in Git LFS could not be fetched.",
        remedy="Their server may be private, or its quota used up: see what it says above.",
        detail=detail[:1000],
    )


class _Through(http.BaseHandler):
    """Sends everything to the proxy: urllib's own handler leaves some hosts out, as the environment says."""

    handler_order = 100

    def __init__(self, proxy: str) -> None:
        self.proxy = urlsplit(proxy).netloc

    def http_request(self, request: http.Request) -> http.Request:
        request.set_proxy(self.proxy, "http")
        return request

    https_request = http_request


def _opener(access: Access) -> http.OpenerDirector:
    variables = access.environment()
    context = ssl.create_default_context(cafile=variables.get("GIT_SSL_CAINFO"), capath=variables.get("GIT_SSL_CAPATH"))
    opener = http.OpenerDirector()  # not build_opener: that would also open files and ftp
    if access.proxy_url:
        opener.add_handler(_Through(access.proxy_url))
    for handler in (
        http.HTTPHandler(),
        http.HTTPSHandler(context=context),
        http.HTTPDefaultErrorHandler(),
        http.HTTPRedirectHandler(),
        http.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener


def _ask(access: Access, opener: http.OpenerDirector, server: str, wanted: list[Large]) -> list[Any]:
    objects = [{"oid": each.id, "size": each.size} for each in wanted]
    body = {"operation": "download", "transfers": ["basic"], "objects": objects}
    request = http.Request(f"{server.rstrip('/')}/objects/batch", json.dumps(body).encode(), method="POST")
    for name in ("Accept", "Content-Type"):
        request.add_header(name, _TYPE)
    if login := _login(access, server):
        request.add_unredirected_header("Authorization", login)
    with _open(opener, request) as answer:
        text = answer.read(10_000_000)
    listed = json.loads(text)["objects"]
    return listed if isinstance(listed, list) else []


def _login(access: Access, server: str) -> str:
    url = parse_url(server)
    variables = access.environment(url)
    facts = dict(line.partition("=")[::2] for line in variables.get(CREDENTIALS, "").split("\n") if line)
    if "username" not in facts or variables.get("REBIND_CREDENTIAL_SERVER") != f"{url.protocol}://{url.server}":
        return ""
    return "Basic " + b64encode(f"{facts['username']}:{facts.get('password', '')}".encode()).decode()


def _give(access: Access, opener: http.OpenerDirector, answer: dict[str, Any]) -> Any:
    if "error" in answer:
        raise ValueError(str(answer["error"].get("message", "the server gives no reason"))[:300])
    action = answer["actions"]["download"]
    href, headers = str(action["href"]), action.get("header") or {}
    if not _SERVER.match(href) or any(character.isspace() or not character.isprintable() for character in href):
        raise ValueError(f"the server names no web address: {href[:100]!r}")
    request = http.Request(href)
    for name, value in headers.items():
        request.add_unredirected_header(str(name), str(value))
    if not headers and (login := _login(access, href)):
        request.add_unredirected_header("Authorization", login)
    return _open(opener, request)


def _store(stream: Any, wanted: Large, target: Path, watch: Watch) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_name(f"{target.name}.{os.getpid()}-{time.monotonic_ns()}")
    digest, size = hashlib.sha256(), 0
    try:
        with open(fresh, "wb") as file:
            while block := stream.read(1 << 18):
                watch.check()
                digest.update(block)
                size += len(block)
                if size > wanted.size:
                    break
                file.write(block)
        if size != wanted.size or digest.hexdigest() != wanted.id:
            raise ValueError(f"the server gives another file than {wanted.id}")
        fresh.replace(target)
    finally:
        with suppress(FileNotFoundError):
            fresh.unlink()


def _open(opener: http.OpenerDirector, request: http.Request) -> Any:
    answer = opener.open(request, timeout=60)
    if answer is None:
        raise URLError(f"{request.full_url[:100]} is no web address")
    return answer
