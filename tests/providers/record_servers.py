"""Small real HTTP servers, each speaking the part of one archive's API that the providers use."""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import tarfile
import threading
import zipfile
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit


@dataclass
class Asked:
    """One request as it came in."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]


Reply = tuple[int, dict[str, str], bytes]


def as_json(value: Any, status: int = 200, **headers: str) -> Reply:
    return status, {"Content-Type": "application/json", **headers}, json.dumps(value).encode()


def as_file(body: bytes, **headers: str) -> Reply:
    return 200, {"Content-Type": "application/octet-stream", **headers}, body


NOTHING: Reply = (404, {"Content-Type": "application/json"}, b'{"status": 404, "message": "not found"}')


@dataclass
class Service:
    """A server for the time of a `with`. `replies` go before what the subclass answers: path -> what is sent."""

    replies: dict[str, Reply] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    port: int = 0
    _server: http.server.ThreadingHTTPServer | None = None
    _thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def answer(self, asked: Asked) -> Reply:
        return NOTHING

    def paths(self) -> list[str]:
        return [each.path for each in self.asked]

    def __enter__(self) -> Any:
        service = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
                headers = {name.lower(): value for name, value in self.headers.items()}
                asked = Asked(self.command, unquote(parts.path), query, headers)
                service.asked.append(asked)
                status, sent, body = service.replies.get(asked.path) or service.answer(asked)
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **sent}.items():
                    self.send_header(name.replace("_", "-"), value)
                self.end_headers()
                if status != 304:
                    self.wfile.write(body)

            do_POST = do_GET

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        assert self._thread is not None
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@dataclass
class Handles(Service):
    """doi.org's handle API."""

    targets: dict[str, str] = field(default_factory=dict)

    def answer(self, asked: Asked) -> Reply:
        doi = asked.path.removeprefix("/api/handles/")
        if doi not in self.targets:
            return as_json({"responseCode": 100, "handle": doi}, 404)
        admin = {"index": 100, "type": "HS_ADMIN", "data": {"format": "admin", "value": {"index": 200}}}
        url = {"index": 1, "type": "URL", "data": {"format": "string", "value": self.targets[doi]}, "ttl": 86400}
        return as_json({"responseCode": 1, "handle": doi, "values": [admin, url]})


@dataclass
class Invenio(Service):
    """Zenodo: files by record number; `concepts` lead to the newest version. `rdm`: the shape of other Invenios."""

    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    concepts: dict[str, str] = field(default_factory=dict)
    rdm: bool = False
    published: str = "2019-06-09"
    checksum: str = ""

    def answer(self, asked: Asked) -> Reply:
        names = asked.path.removeprefix("/api/records/").split("/", 2)
        if names[0] in self.concepts:
            return 301, {"Location": f"/api/records/{self.concepts[names[0]]}"}, b""
        if names[0] not in self.files:
            return NOTHING
        if len(names) == 1:
            return as_json(self._record(names[0]))
        if len(names) == 2:
            return as_json({"enabled": True, "entries": self._files(names[0])})
        return as_file(self.files[names[0]][names[2].removesuffix("/content")])

    def _record(self, id: str) -> dict[str, Any]:
        metadata = {"title": "A talk", "publication_date": self.published}
        links = {"self": f"{self.url}/api/records/{id}", "files": f"{self.url}/api/records/{id}/files"}
        common = {"created": "2019-06-10T07:08:09.123456+00:00", "metadata": metadata, "links": links}
        if self.rdm:
            pids = {"doi": {"identifier": f"10.22002/{id}", "provider": "datacite"}}
            return {**common, "id": id, "parent": {"id": f"p-{id}"}, "pids": pids, "files": {"enabled": True}}
        return {
            **common,
            "id": int(id),
            "conceptrecid": "3242073",
            "doi": f"10.5281/zenodo.{id}",
            "files": self._files(id),
        }

    def _files(self, id: str) -> list[dict[str, Any]]:
        found = []
        for key, body in self.files[id].items():
            link = f"{self.url}/api/records/{id}/files/{key}"
            links = {"self": link, "content": f"{link}/content"} if self.rdm else {"self": f"{link}/content"}
            checksum = self.checksum or f"md5:{hashlib.md5(body).hexdigest()}"
            found.append({"key": key, "size": len(body), "checksum": checksum, "links": links})
        return found


@dataclass
class Figshare(Service):
    """api.figshare.com: version -> files of the article 9782777."""

    versions: dict[str, dict[str, bytes]] = field(default_factory=dict)
    link_only: tuple[str, ...] = ()

    def answer(self, asked: Asked) -> Reply:
        names = asked.path.strip("/").split("/")
        if names[:1] == ["files"]:
            return as_file(self.versions[names[1]]["/".join(names[2:])])
        if names[:3] != ["v2", "articles", "9782777"]:
            return NOTHING
        if names[3:] == ["versions"]:
            return as_json([{"version": int(each), "url": f"{self.url}{asked.path}/{each}"} for each in self.versions])
        version = names[4]
        if version not in self.versions:
            return NOTHING
        files = [self._file(version, name, body) for name, body in self.versions[version].items()]
        doi = f"10.6084/m9.figshare.9782777.v{version}"
        date = f"2019-0{version}-05T10:11:12Z"
        return as_json({"id": 9782777, "version": int(version), "doi": doi, "published_date": date, "files": files})

    def _file(self, version: str, name: str, body: bytes) -> dict[str, Any]:
        link = name in self.link_only
        return {
            "id": 17,
            "name": name,
            "size": len(body),
            "is_link_only": link,
            "download_url": "http://127.0.0.1:1/never" if link else f"{self.url}/files/{version}/{name}",
            "computed_md5": hashlib.md5(body).hexdigest(),
        }


@dataclass
class Dataverse(Service):
    """One installation with one data set; `files` by id: label, folder, body."""

    persistent: str = "doi:10.7910/DVN/TJCLKP"
    files: dict[str, tuple[str, str, bytes]] = field(default_factory=dict)
    file_dois: dict[str, str] = field(default_factory=dict)
    """Persistent id of a file -> its number."""

    def answer(self, asked: Asked) -> Reply:
        path = asked.path
        if path == "/api/info/version":
            return as_json({"status": "OK", "data": {"version": "5.13"}})
        if path.startswith("/api/access/datafile/"):
            assert asked.query == {"format": "original"}
            return as_file(self.files[path.rpartition("/")[2]][2])
        if path == "/api/search":
            kind, _, wanted = asked.query["q"].partition(":")
            number = wanted if kind == "entityId" else self.file_dois.get(wanted.strip('"'), "")
            items = [{"type": "file", "file_id": number, "dataset_persistent_id": self.persistent}]
            return as_json({"status": "OK", "data": {"items": items if number in self.files else []}})
        if not path.startswith("/api/datasets/:persistentId/") or asked.query["persistentId"] != self.persistent:
            return as_json({"status": "ERROR", "message": "not found"}, 404)
        if path.endswith("/versions/2.1"):
            return as_json({"status": "OK", "data": self._version()})
        if not path.endswith(":persistentId/"):
            return as_json({"status": "ERROR", "message": "no such version"}, 404)
        data = {
            "id": 3035124,
            "persistentUrl": f"https://doi.org/{self.persistent[4:]}",
            "latestVersion": self._version(),
        }
        return as_json({"status": "OK", "data": data})

    def _version(self) -> dict[str, Any]:
        return {
            "id": 99,
            "versionNumber": 2,
            "versionMinorNumber": 1,
            "versionState": "RELEASED",
            "releaseTime": "2018-05-01T12:00:00Z",
            "files": [self._file(id, *facts) for id, facts in self.files.items()],
        }

    def _file(self, id: str, label: str, folder: str, body: bytes) -> dict[str, Any]:
        data: dict[str, Any] = {"id": int(id), "filename": label, "md5": hashlib.md5(body).hexdigest()}
        if label.endswith(".tab"):
            data |= {
                "originalFileName": label.replace(".tab", ".csv"),
                "originalFileFormat": "text/csv",
                "md5": "0" * 32,
            }
        entry = {"label": label, "restricted": False, "dataFile": data}
        return {**entry, "directoryLabel": folder} if folder else entry


HYDRO = "8f7c2f0341ef4180b0dbe97f59130756"


@dataclass
class Hydroshare(Service):
    """HydroShare: the bag is there after `waits` further questions."""

    files: dict[str, bytes] = field(default_factory=dict)
    waits: int = 0
    modified: str = "2019-09-25T16:09:17.006152Z"

    def answer(self, asked: Asked) -> Reply:
        if asked.path == f"/hsapi/resource/{HYDRO}/scimeta/elements":
            dates = [
                {"type": "created", "start_date": "2018-01-01T00:00:00Z"},
                {"type": "modified", "start_date": self.modified},
            ]
            return as_json({"title": "Water", "dates": dates})
        if asked.path != f"/django_irods/download/bags/{HYDRO}":
            return NOTHING
        self.waits -= 1
        if self.waits >= 0:
            return 200, {"Content-Type": "application/html"}, b"<html>The bag is being made.</html>"
        inside = {f"{HYDRO}/data/contents/{name}": body for name, body in self.files.items()}
        extra = {f"{HYDRO}/bagit.txt": b"BagIt", f"{HYDRO}/data/resourcemap.xml": b"<x/>"}
        return as_file(zipped({**extra, **inside}), Content_Type="application/zip")


@dataclass
class Ckan(Service):
    """A CKAN below a prefix, with one data set and one older state of it."""

    prefix: str = ""
    resources: list[dict[str, str]] = field(default_factory=list)
    bodies: dict[str, bytes] = field(default_factory=dict)
    ckan: bool = True

    def answer(self, asked: Asked) -> Reply:
        if asked.path in self.bodies:
            return as_file(self.bodies[asked.path])
        action = asked.path.removeprefix(f"{self.prefix}/api/3/action/")
        if not self.ckan or action == asked.path:
            return 404, {"Content-Type": "text/html"}, b"<html>"
        if action == "status_show":
            return as_json({"success": True, "result": {"ckan_version": "2.10.3"}})
        if action == "package_show" and asked.query == {"id": "sample-dataset-1"}:
            return as_json({"success": True, "result": self._package("2024-02-27T14:15:54.573058")})
        if action == "activity_data_show" and asked.query == {"id": "8d5c7a", "object_type": "package"}:
            return as_json({"success": True, "result": self._package("2021-01-01T00:00:00")})
        return as_json({"success": False, "error": {"__type": "Not Found Error"}}, 404)

    def _package(self, modified: str) -> dict[str, Any]:
        id = "e0e9d4f4-0d1b-4ecc-b3a4-4b2a1b1c0a6e"
        return {"id": id, "name": "sample-dataset-1", "metadata_modified": modified, "resources": self.resources}


@dataclass
class Heritage(Service):
    """Software Heritage: one directory, one revision of it, a vault that takes `cooking` questions."""

    directory: str = "1" * 40
    revision: str = "2" * 40
    files: dict[str, bytes] = field(default_factory=dict)
    cooking: int = 0
    failed: bool = False

    def answer(self, asked: Asked) -> Reply:
        swhid = f"swh:1:dir:{self.directory}"
        if asked.path == f"/api/1/directory/{self.directory}/":
            return as_json([{"name": name, "type": "file"} for name in self.files])
        if asked.path == f"/api/1/revision/{self.revision}/":
            dates = {"date": "2016-01-01T00:00:00+01:00", "committer_date": "2017-02-03T04:05:06+01:00"}
            return as_json({"id": self.revision, "directory": self.directory, **dates})
        if asked.path == f"/api/1/vault/flat/{swhid}/":
            self.cooking -= 1
            status = "failed" if self.failed else "pending" if self.cooking >= 0 else "done"
            return as_json(
                {"swhid": swhid, "status": status, "progress_message": "out of pans" if self.failed else None}
            )
        if asked.path == f"/api/1/vault/flat/{swhid}/raw/":
            return as_file(tarred({f"{swhid}/{name}": body for name, body in self.files.items()}, "w:gz"))
        return as_json({"exception": "NotFoundExc", "reason": "not found"}, 404)


@dataclass
class Osf(Service):
    """The OSF: one project; files in the root and in one folder, one file a page."""

    files: dict[str, bytes] = field(default_factory=dict)

    def answer(self, asked: Asked) -> Reply:
        if asked.path == "/v2/nodes/5hzc9/":
            attributes = {
                "title": "A study",
                "date_created": "2018-01-01T00:00:00.1",
                "date_modified": "2018-02-03T04:05:06",
            }
            return as_json({"data": {"id": "5hzc9", "type": "nodes", "attributes": attributes}})
        if asked.path.startswith("/download/"):
            return as_file(self.files[asked.path.removeprefix("/download/")])
        base = "/v2/nodes/5hzc9/files/osfstorage/"
        if not asked.path.startswith(base):
            return NOTHING
        folder = asked.path.removeprefix(base).strip("/")
        entries = [self._entry(name, body) for name, body in self.files.items() if name.rpartition("/")[0] == folder]
        if not folder:
            names = sorted({name.partition("/")[0] for name in self.files if "/" in name})
            entries += [self._folder(name, f"{self.url}{base}{name}/") for name in names]
        page = int(asked.query.get("page", "1"))
        more = f"{self.url}{asked.path}?page={page + 1}" if page < len(entries) else None
        return as_json({"data": entries[page - 1 : page], "links": {"next": more}})

    def _entry(self, name: str, body: bytes) -> dict[str, Any]:
        hashes = {"sha256": hashlib.sha256(body).hexdigest()}
        facts = {"kind": "file", "name": name, "materialized_path": f"/{name}", "date_modified": "2019-01-02T03:04:05Z"}
        return {
            "attributes": {**facts, "extra": {"hashes": hashes}},
            "links": {"download": f"{self.url}/download/{name}"},
        }

    def _folder(self, name: str, url: str) -> dict[str, Any]:
        related = {"files": {"links": {"related": {"href": url}}}}
        return {"attributes": {"kind": "folder", "name": name}, "relationships": related}


def zipped(files: dict[str, bytes]) -> bytes:
    """A zip archive of these files."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in files.items():
            archive.writestr(name, body)
    return made.getvalue()


def tarred(files: dict[str, bytes], mode: str = "w:gz") -> bytes:
    """A tar archive of these files."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode=mode) as archive:  # type: ignore[call-overload]
        for name, body in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(body)
            archive.addfile(info, io.BytesIO(body))
    return made.getvalue()


def contents(root: Any) -> dict[str, bytes]:
    """All regular files below a directory."""
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
