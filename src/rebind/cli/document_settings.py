"""Writes docs/run/settings.md: `python -m rebind.cli.document_settings > docs/run/settings.md`."""

from __future__ import annotations

from dataclasses import MISSING, fields

from rebind.settings import Settings

HEAD = """# Settings

Each setting can be given in a TOML file (`REBIND_SETTINGS`, else `~/.config/rebind/rebind.toml`, else
`/etc/rebind.toml`) by its name, or as an environment variable. `rebind settings` shows the values that are in force and
where each comes from. Sizes may be written as `2G`, times as `10m`; 0 means no limit.

| name | variable | default | what it is |
| --- | --- | --- | --- |
"""


def document() -> str:
    """The page."""
    rows = []
    for setting in fields(Settings):
        fixed = setting.default is not MISSING
        default = f"`{setting.default}`" if fixed and setting.default != "" else "" if fixed else "see below"
        rows.append(f"| `{setting.name}` | `REBIND_{setting.name.upper()}` | {default} | {setting.metadata['help']} |")
    tail = "\n\n`data` defaults to `/var/lib/rebind` for root, else to `~/.local/share/rebind` (`XDG_DATA_HOME`).\n"
    return HEAD + "\n".join(rows) + tail


if __name__ == "__main__":
    print(document(), end="")
