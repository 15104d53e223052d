"""Names and tokens of sessions."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
import secrets
import string
from pathlib import Path
from urllib.parse import unquote, urlsplit

ALPHABET = string.ascii_lowercase + string.digits
NAME_LENGTH = 32


class Secret:
    """The hub's secret, made at first use and kept in a file that only its user can read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> bytes:
        """32 bytes. Two processes that make it at once end with the same."""
        try:
            return self.path.read_bytes()
        except FileNotFoundError:
            pass
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.path.with_name(f"{self.path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secrets.token_bytes(32))
        try:
            os.link(fresh, self.path)  # fails if somebody was quicker, and never replaces
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
        return self.path.read_bytes()

    def token(self, session: str) -> str:
        """The token that opens a session: derived, so that no database holds it. 22 characters (launch-api 1.5)."""
        mac = hmac.new(self.read(), f"session:{session}".encode(), hashlib.sha256).digest()
        return base64.urlsafe_b64encode(mac[:16]).decode().rstrip("=")


def new_id() -> str:
    """An id that nobody can guess: 26 characters of a-z and 0-9, about 134 bits."""
    return "".join(secrets.choice(ALPHABET) for _ in range(26))


def session_name(repository: str) -> str:
    """`ada-lab-k3x9q1zz`: from the last two parts of the repository's path, and eight random characters."""
    parts = [part for part in unquote(urlsplit(repository).path).removesuffix(".git").split("/") if part]
    text = re.sub(r"[^a-z0-9]+", "-", "-".join(parts[-2:]).lower()).strip("-") or "session"
    if len(text) > NAME_LENGTH:
        text = f"{text[:15].rstrip('-')}-{text[-15:].lstrip('-')}"
    return f"{text}-{''.join(secrets.choice(ALPHABET) for _ in range(8))}"
