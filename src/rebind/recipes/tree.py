"""The files of a checkout, read without ever leaving it and without running or opening anything but plain files."""

from __future__ import annotations

import codecs
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from rebind.errors import RecipeError
from rebind.recipes.where import shown

LIMIT = 4 * 1024 * 1024
"""Largest configuration file that is read, in bytes. A lock of 500 packages with all their hashes is 1.4 MB."""

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Tree:
    """A checkout. Paths are relative to its root; what leads out of it, also over symbolic links, is refused."""

    root: Path
    """Without symbolic links; see `at`."""

    @classmethod
    def at(cls, root: Path) -> Tree:
        """The checkout at `root`. Raises RecipeError if there is no such directory."""
        try:
            real = root.resolve(strict=True)
        except (OSError, RuntimeError, ValueError) as error:
            raise RecipeError(f"The repository's directory {shown(str(root))} cannot be read.") from error
        if not real.is_dir():
            raise RecipeError(f"{shown(str(root))} is not a directory.")
        return cls(real)

    def find(self, path: str) -> str | None:
        """The real path of `path` relative to the root ('.' for the root), None if there is nothing.

        Raises RecipeError if it leads out of the repository or cannot be followed.
        """
        try:
            real = (self.root / path).resolve(strict=True)
        except (FileNotFoundError, NotADirectoryError):
            # A link to an absent file outside gets the same answer as one to a file that is there,
            # so that nobody learns from a message which files this machine has.
            if (self.root / path).is_symlink():
                raise _outside(path) from None
            return None
        except (OSError, RuntimeError, ValueError) as error:
            raise RecipeError(f"{shown(path)} cannot be followed: a loop of links, or not a usable name.") from error
        if not real.is_relative_to(self.root):
            raise _outside(path)
        return real.relative_to(self.root).as_posix()

    def is_dir(self, path: str) -> bool:
        """Whether `path` is a directory inside the repository."""
        found = self.find(path)
        return found is not None and (self.root / found).is_dir()

    def is_file(self, path: str) -> bool:
        """Whether there is a plain file. Raises RecipeError for a directory, pipe or device of that name."""
        found = self.find(path)
        if found is None:
            return False
        if not stat.S_ISREG((self.root / found).lstat().st_mode):
            raise RecipeError(f"{shown(path)} is not a plain file.", remedy="Rename it or make it a file.")
        return True

    def head(self, path: str, size: int = 256) -> bytes:
        """The first bytes of a plain file."""
        return self._bytes(path, size)

    def text(self, path: str) -> str | None:
        """The text of a plain file, None if it is not there. Raises RecipeError if it is too large or not text."""
        if not self.is_file(path):
            return None
        data = self._bytes(path, LIMIT + 1)
        if len(data) > LIMIT:
            raise RecipeError(
                f"{shown(path)} is larger than {LIMIT // 1024**2} MiB, the limit for a configuration file."
            )
        return decode(data, path)

    def _bytes(self, path: str, size: int) -> bytes:
        real = self.root / (self.find(path) or path)
        try:
            # even if the file were swapped for a link or a pipe meanwhile, nothing is followed or awaited
            fd = os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with open(fd, "rb") as file:
                return file.read(size)
        except OSError as error:
            raise RecipeError(f"{shown(path)} cannot be read: {error.strerror}.") from error


def decode(data: bytes, name: str) -> str:
    """The text of `data`: by its byte order mark, else UTF-8, else UTF-16 without a mark, else Latin-1.

    Raises RecipeError if it is not text (control characters).
    """
    text = _decode(data)
    if text is None or _CONTROL.search(text):
        raise RecipeError(f"{shown(name)} is not a text file.", remedy="Save it as plain text in UTF-8.")
    return text


def _decode(data: bytes) -> str | None:
    marked = next((encoding for mark, encoding in _BOMS if data.startswith(mark)), None)
    if marked:
        return _try(data, marked)
    if b"\0" in data:  # only UTF-16 text holds these; plain ASCII in it is all that can be told from binary
        texts = (_try(data, encoding) for encoding in ("utf-16-le", "utf-16-be"))
        return next((text for text in texts if text and text.isascii()), None)
    text = _try(data, "utf-8")
    return data.decode("latin-1") if text is None else text


def _try(data: bytes, encoding: str) -> str | None:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        return None


def _outside(path: str) -> RecipeError:
    return RecipeError(
        f"{shown(path)} leads out of the repository.",
        remedy="Configuration can only name files of the repository itself; copy the file into it.",
    )
