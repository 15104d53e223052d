"""PEP 723: what a single script or notebook says of itself in a `# /// script` block.

It counts only where nothing else says what the repository needs: the root holds exactly one Python file or notebook
with such a block. Two blocks would be two environments, so then none counts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from rebind.errors import RecipeError
from rebind.recipes.toml import read_toml, table, text, texts
from rebind.recipes.tree import Tree
from rebind.recipes.versions import check_requires
from rebind.recipes.where import Where

_COMMENT = re.compile(r"#(?: .*)?")
_END = "# ///"
_START = b"# /// script"
_MOST_FILES = 200


@dataclass(frozen=True, slots=True)
class Script:
    """What one block says."""

    file: str = ""
    dependencies: tuple[str, ...] = ()
    requires_python: str = ""
    warnings: tuple[str, ...] = ()


def find_script_block(tree: Tree) -> Script:
    """The only block in a Python file or notebook of the root; empty if there is none. Raises RecipeError."""
    found = [(name, block) for name, text in _candidates(tree) for block in _blocks(text)]
    if not found:
        return Script()
    if len(found) > 1:
        names = " and ".join(dict.fromkeys(name for name, _ in found[:3]))
        warning = f"{names} hold several `# /// script` blocks; none of them counts. Write a requirements.txt."
        return Script(warnings=(warning,))
    return _read(*found[0])


def _candidates(tree: Tree) -> Iterator[tuple[str, str]]:
    names = sorted(each.name for each in tree.root.iterdir() if each.name.endswith((".py", ".ipynb")))
    for name in names[:_MOST_FILES]:
        path = tree.root / name
        if path.is_symlink() or not path.is_file():
            continue
        try:
            # most files hold none: only of those that may, all is read
            if _START in tree.head(name, 1 << 20):
                text = tree.text(name) or ""
                yield name, _first_cells(text) if name.endswith(".ipynb") else text.replace("\r\n", "\n")
        except RecipeError:
            continue  # too large or no text: then it holds no block


def _first_cells(notebook: str) -> str:
    """The source of the code cells, one below the other."""
    try:
        cells = json.loads(notebook)["cells"]
        sources = [cell["source"] for cell in cells if cell["cell_type"] == "code"]
        return "\n\n".join("".join(source) for source in sources) + "\n"
    except (ValueError, RecursionError, LookupError, TypeError):
        return ""


def _blocks(text: str) -> Iterator[str]:
    """A block starts in a run of comment lines and goes to the last `# ///` of it, as the PEP's own pattern has it."""
    for comment, run in groupby(text.split("\n"), lambda line: bool(_COMMENT.fullmatch(line))):
        lines = list(run) if comment else []
        if "# /// script" not in lines or _END not in lines:
            continue
        start, end = lines.index("# /// script"), len(lines) - 1 - lines[::-1].index(_END)
        if start + 1 < end:
            yield "\n".join(line[2:] for line in lines[start + 1 : end])


def _read(name: str, block: str) -> Script:
    where = Where(name)
    content = read_toml(block, where)
    requires = check_requires(text(content, "requires-python", where), where)
    uv = table(table(content, "tool", where), "uv", where)
    known = {"dependencies", "requires-python", "tool"}
    warnings = [f"{name}: {key} in the script block has no effect." for key in sorted(content) if key not in known]
    if uv:
        warnings.append(f"{name}: tool.uv in the script block has no effect.")
    return Script(name, texts(content, "dependencies", where), requires, tuple(warnings))
