"""The provider `gl`: GitLab, over git alone or, with a token, its API."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar
from urllib.parse import quote, urlsplit

from rebind.errors import AddressError, RefNotFoundError, RepositoryError
from rebind.providers.addresses import parse_url
from rebind.providers.answers import moment, text
from rebind.providers.forge import ForgeProvider, bare, good
from rebind.providers.forge import text as decoded
from rebind.providers.git import GitProvider
from rebind.providers.http import StatusError
from rebind.providers.online import Online
from rebind.providers.refs import FULL_ID, check_ref, not_found
from rebind.providers.texts import printable
from rebind.values import Commit, Spec

_DEEPEST = 8


class GitLabProvider(ForgeProvider):
    """`gl/enc(namespace/project)/ref`; also `gl/namespace/project/ref`, which some clients write.

    In the latter only GitLab knows where the project ends and the ref begins: such a spec's repository ends in `/`, and
    the shortest project that exists counts (a group and a project never have the same path). `token`: of the API.
    """

    name = "gl"
    title = "GitLab"
    display: ClassVar[dict[str, Any] | None] = {
        "displayName": "GitLab",
        "id": "gl",
        "spec": {"validateRegex": "[^/]+/.+"},
        "detect": {"regex": r"^(?:https?://)?(?:www\.)?gitlab\.com/(?<repo>[^?#\s]+/[^?#\s]+?)(?:\.git)?/?$"},
        "repo": {
            "label": "GitLab repository",
            "placeholder": "example: https://gitlab.com/group/name",
            "urlEncode": True,
        },
        "ref": {"enabled": True, "default": "HEAD"},
    }

    def __init__(
        self,
        *,
        git: GitProvider,
        online: Online | None = None,
        base_url: str = "https://gitlab.com",
        token: str = "",
    ) -> None:
        super().__init__(git=git, base_url=base_url)
        self.online = online or Online()
        self.token = token

    def project(self, names: Sequence[str]) -> str:
        return "/".join([*names[:-1], bare(names[-1])]) if good(names) else ""

    def parse(self, raw_spec: str) -> Spec:
        first, _, rest = raw_spec.strip("/").partition("/")
        names = decoded(first).strip("/").split("/")
        if len(names) > 1:
            return self.spec(names, decoded(rest), raw_spec)
        names = [decoded(part) for part in raw_spec.strip("/").split("/")]
        if len(names) < 2 or not good(names[:2]):
            raise AddressError(
                f"{printable(raw_spec)!r} names no project of GitLab.", remedy="Write it like gl/group%2Fname/HEAD."
            )
        if len(names) == 2:
            return self.spec(names, "", raw_spec)
        check_ref("/".join(names[2:]))
        return Spec(self.name, f"{self.base_url}/{quote('/'.join(names), safe='/')}/")

    def link_of(self, project: str) -> str:
        return quote(project, safe="")

    def resolve(self, spec: Spec) -> Commit:
        if not spec.repository.endswith("/"):
            return self._resolve(spec)
        first: RepositoryError | None = None
        for candidate in self._readings(spec):
            try:
                return self._resolve(candidate)
            except RefNotFoundError:
                raise  # the project is there
            except RepositoryError as error:
                first = first or error
        raise first or RepositoryError(f"There is no project at {spec.repository}.")

    def _readings(self, spec: Spec) -> list[Spec]:
        names = decoded(self.project_of(spec)).split("/")
        found = []
        for count in range(2, min(len(names), _DEEPEST) + 1):
            if good(names[:count]):
                project = "/".join([*names[: count - 1], bare(names[count - 1])])
                ref = spec.ref or "/".join(names[count:]) or None
                found.append(replace(spec, repository=self.clone_url(project), ref=ref))
        return found

    def _resolve(self, spec: Spec) -> Commit:
        if not self.token or (spec.ref or "").endswith("/"):
            return super().resolve(spec)
        url = self.git.access.check(parse_url(spec.repository))
        ref = check_ref(spec.ref) or "HEAD"
        project = quote(self.project_of(spec), safe="")
        parts = urlsplit(self.base_url)
        tokens = {f"{parts.scheme}://{parts.netloc}": f"Bearer {self.token}"}
        asked = f"{self.base_url}/api/v4/projects/{project}/repository/commits/{quote(ref, safe='')}"
        with self.online.http(self.online.watch(spec.repository), tokens) as http:
            try:
                said = http.json(asked)
            except StatusError as error:
                if error.status != 404:
                    raise
                http.get(
                    f"{self.base_url}/api/v4/projects/{project}", missing=f"There is no project {spec.repository}."
                )
                raise not_found(ref, spec.repository) from error
        id, date = text(said, "id"), moment(text(said, "committed_date"))
        if date is None or not FULL_ID.fullmatch(id):
            raise RepositoryError(f"GitLab does not say which commit {ref!r} of {spec.repository} is.")
        return self.linked(Commit(spec, id, date, url.identity))
