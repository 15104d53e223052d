"""Providers: from the address of a repository to a commit, and from a commit to its files.

A provider knows one kind of address: a directory of this machine, what git or Mercurial read, a forge (which git then
fetches), an archive of records with DOIs, a packed file on the web. Each is a class whose constructor takes its needs
by keyword and does nothing; a stranger's provider is done when it passes `tests/conformance/test_providers.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, runtime_checkable

from rebind.values import Commit, Report, Spec

__all__ = ["Provider"]


@runtime_checkable
class Provider(Protocol):
    """One kind of address."""

    name: str
    """The prefix in links (`/v2/<name>/...`) and `Spec.provider`.

    An attribute `display` (launch API 1.3), if there is one, puts the provider into the form and the launch API.
    """

    def detect(self, address: str) -> Spec | None:
        """The spec that an address names, decided from the address alone, without the network.

        None if the address is not of this kind. Raises AddressError for one that is, but can never be fetched
        (it holds a password, say). A web page of a forge fills in the ref.
        """
        ...

    def parse(self, raw_spec: str) -> Spec:
        """The spec of a link: what follows `/v2/<name>/`, still percent-encoded (launch API 1.3). AddressError."""
        ...

    def resolve(self, spec: Spec) -> Commit:
        """The commit that the ref names now.

        Raises RefNotFoundError (the repository is there, the ref is not), RepositoryError (it cannot be had) or
        RefusedError (policy forbids it). `Commit.spec` is the spec asked for, with the ref that was really found.
        """
        ...

    def fetch(self, commit: Commit, into: Path, report: Report) -> None:
        """Writes the files of a commit to `into`, which does not exist yet, while its parent does.

        Of a git repository `into/.git` works by itself afterwards. On any error nothing is left at `into`. Progress
        goes to `report` with the phase `fetching`. Raises what `resolve` raises, and DiskError.
        """
        ...
