"""Plan + date -> lock: which Python, which packages, which files, as of when.

`Locker.lock` is the step; `Interpreters` finds the Pythons; `DatedIndex` is the package index as it was on a day, which
every client of a build goes through. Locks are kept and given out in the standard format (PEP 751).
"""

from __future__ import annotations

from rebind.locks.conda import CondaLocker, channel_hosts
from rebind.locks.conda_first import CondaFirst
from rebind.locks.debian import DebianLocker, Found
from rebind.locks.debian_host import mirror_hosts
from rebind.locks.index import DatedIndex
from rebind.locks.interpreters import Choice, Interpreters
from rebind.locks.labels import HOST
from rebind.locks.locker import Locker
from rebind.locks.pylock import read_pylock, write_pylock
from rebind.locks.question import INDEX_URL
from rebind.locks.resolve import UnresolvableError
from rebind.locks.server import server_lock, server_names
from rebind.locks.workplace import EgressAddress, RunConfined

__all__ = [
    "HOST",
    "INDEX_URL",
    "Choice",
    "CondaFirst",
    "CondaLocker",
    "DatedIndex",
    "DebianLocker",
    "EgressAddress",
    "Found",
    "Interpreters",
    "Locker",
    "RunConfined",
    "UnresolvableError",
    "channel_hosts",
    "mirror_hosts",
    "read_pylock",
    "server_lock",
    "server_names",
    "write_pylock",
]
