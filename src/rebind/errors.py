"""One tree of errors. Each says what happened, to what, and what its reader can do.

RebindError
├── AddressError         the address or link cannot be understood
│   └── RefusedError     understood, but policy forbids it
├── RepositoryError      the repository cannot be had
│   └── RefNotFoundError it is there, the ref is not
├── RecipeError          a configuration file is wrong
├── LockError            the needs cannot be met
│   └── InterpreterError the Python that is asked for cannot be had
├── BuildError           installing or a repository's own script failed
│   └── ScriptError      a script of the repository ended with a non-zero code
├── SandboxError         this machine does not allow the confinement
├── DeadlineError        something took longer than it may
├── SessionError         the session did not start or died
├── FullError            no room: quota or hub
├── DiskError            no space left
├── NetworkError         the network or an index did not answer
└── SettingsError        a setting is wrong
"""

from __future__ import annotations

import errno


class RebindError(Exception):
    """Base of all. `str(error)` is one sentence; `remedy` is what the reader can do; `detail` a longer text."""

    exit_code = 1

    def __init__(self, message: str, *, remedy: str = "", detail: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy
        self.detail = detail

    def text(self) -> str:
        """Message, detail and remedy, for a person."""
        return "\n".join(part for part in (str(self), self.detail.strip(), self.remedy) if part)


class AddressError(RebindError): ...


class RefusedError(AddressError): ...


class RepositoryError(RebindError): ...


class RefNotFoundError(RepositoryError): ...


class RecipeError(RebindError): ...


class LockError(RebindError): ...


class InterpreterError(LockError): ...


class BuildError(RebindError): ...


class ScriptError(BuildError): ...


class SandboxError(RebindError): ...


class DeadlineError(RebindError): ...


class SessionError(RebindError): ...


class FullError(RebindError): ...


class DiskError(RebindError): ...


class NetworkError(RebindError): ...


class SettingsError(RebindError): ...


_SQLITE_FULL = {13, 778, 4874}  # FULL, IOERR_WRITE, IOERR_SHMSIZE: the file beside the database could not grow


def out_of_room(path: object, detail: str = "") -> DiskError:
    """The error for a disk without room, where there is nothing better to say."""
    return DiskError(
        f"No space left on the disk of {path}.",
        remedy="Run `rebind clean` to remove what is not in use, or make room on that disk.",
        detail=detail,
    )


def disk_error(error: BaseException, data: object) -> DiskError | None:
    """What to show for an exception that a full disk is behind, itself or as its cause; None for any other."""
    seen: BaseException | None = error
    while seen is not None:
        full = isinstance(seen, OSError) and seen.errno in (errno.ENOSPC, errno.EDQUOT)
        if full or getattr(seen, "sqlite_errorcode", None) in _SQLITE_FULL:
            return out_of_room(getattr(seen, "filename", None) or data)
        seen = seen.__cause__ or seen.__context__
    return None
