"""The built-in providers: how each is made. Strangers' ones come in beside them, see rebind.plugins."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rebind.providers import Provider
from rebind.providers.any_doi import DoiProvider
from rebind.providers.ckan import CkanProvider
from rebind.providers.dataverse import DataverseProvider
from rebind.providers.figshare import FigshareProvider
from rebind.providers.forge import BitbucketProvider, HuggingFaceProvider
from rebind.providers.git import GitProvider
from rebind.providers.github import Credentials, GistProvider, GitHubProvider
from rebind.providers.gitlab import GitLabProvider
from rebind.providers.hydroshare import HydroshareProvider
from rebind.providers.local import LocalProvider
from rebind.providers.mercurial import HgProvider
from rebind.providers.online import Online
from rebind.providers.osf import OsfProvider
from rebind.providers.swh import SwhProvider
from rebind.providers.web_archive import ArchiveProvider
from rebind.providers.zenodo import ZenodoProvider


@dataclass(frozen=True, slots=True)
class Needs:
    """What a provider may need; given to its factory instead of the whole installation."""

    cache: Path
    """A directory of its own."""
    proxy_url: str | None
    """HTTP proxy through which it must reach the network; None: directly."""
    public: bool
    """Whether strangers may ask: then nothing of this machine is given out."""
    timeout: float | None
    max_bytes: int | None
    git: Path
    """The cache of git repositories, which all providers that fetch with git share."""

    @property
    def online(self) -> Online:
        return Online(self.proxy_url, self.timeout, self.max_bytes)


def _git(needs: Needs) -> GitProvider:
    return GitProvider(
        cache=needs.git,
        proxy_url=needs.proxy_url,
        allow_local=not needs.public,
        timeout=needs.timeout,
        max_bytes=needs.max_bytes,
    )


def _local(needs: Needs) -> Provider:
    return LocalProvider(
        cache=needs.cache,
        allow_local=not needs.public,
        proxy_url=needs.proxy_url,
        timeout=needs.timeout,
        max_bytes=needs.max_bytes,
    )


def _github_credentials() -> Credentials:
    names = ("GITHUB_CLIENT_ID", "GITHUB_CLIENT_SECRET", "GITHUB_ACCESS_TOKEN")
    return Credentials(*(os.environ.get(name, "").strip() for name in names))


def _github(needs: Needs) -> Provider:
    return GitHubProvider(git=_git(needs), online=needs.online, credentials=_github_credentials())


def _gist(needs: Needs) -> Provider:
    return GistProvider(git=_git(needs), online=needs.online, credentials=_github_credentials())


def _gitlab(needs: Needs) -> Provider:
    token = os.environ.get("GITLAB_ACCESS_TOKEN") or os.environ.get("GITLAB_PRIVATE_TOKEN") or ""
    return GitLabProvider(git=_git(needs), online=needs.online, token=token.strip())


def _dataverse(needs: Needs) -> DataverseProvider:
    installations = os.environ.get("R2D_DATAVERSE_INSTALLATIONS_URL") or None
    return DataverseProvider(online=needs.online, installations_url=installations)


def _swh(needs: Needs) -> SwhProvider:
    return SwhProvider(online=needs.online, token=os.environ.get("SWH_TOKEN") or None)


def _mercurial(needs: Needs) -> Provider:
    return HgProvider(
        cache=needs.cache,
        proxy_url=needs.proxy_url,
        allow_local=not needs.public,
        timeout=needs.timeout,
        max_bytes=needs.max_bytes,
    )


def _doi(needs: Needs) -> Provider:
    archives = (
        ZenodoProvider(online=needs.online),
        FigshareProvider(online=needs.online),
        HydroshareProvider(online=needs.online),
        OsfProvider(online=needs.online),
        _dataverse(needs),
        CkanProvider(online=needs.online),
    )
    return DoiProvider(archives=archives, online=needs.online)


PROVIDERS: dict[str, Callable[[Needs], Provider]] = {
    "local": _local,
    "gh": _github,
    "gist": _gist,
    "gl": _gitlab,
    "bitbucket": lambda needs: BitbucketProvider(git=_git(needs)),
    "hf": lambda needs: HuggingFaceProvider(git=_git(needs)),
    "zenodo": lambda needs: ZenodoProvider(online=needs.online),
    "figshare": lambda needs: FigshareProvider(online=needs.online),
    "dataverse": _dataverse,
    "hydroshare": lambda needs: HydroshareProvider(online=needs.online),
    "swh": _swh,
    "osf": lambda needs: OsfProvider(online=needs.online),
    "doi": _doi,
    "archive": lambda needs: ArchiveProvider(cache=needs.cache, online=needs.online),
    "ckan": lambda needs: CkanProvider(online=needs.online),
    "hg": _mercurial,
    "git": _git,
}
"""Built-in providers, in the order in which they are asked whether an address is theirs, and stand in the form.

Only one knows most addresses; `doi` takes the DOIs that no archive before it claims, and `git` every other address.
"""
