"""The repair rules, one case each, and that nothing a stranger writes breaks them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from rebind.locks.repair import repair_metadata, repair_requirement, repair_specifiers


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("numpy (>=1.7.0)", "numpy (>=1.7.0)"),
        ("x[a] >=1 ; python_version < '3'", "x[a] >=1 ; python_version < '3'"),
        ("pytz (>=2011k)", "pytz>=2011.11"),
        ("pytz (>=2011k,<2020)", "pytz>=2011.11,<2020"),
        ("foo (>=1.0,)", "foo>=1.0"),
        ("foo >=1.0 <2.0", "foo>=1.0,<2.0"),
        ("foo (>='2.7')", "foo>=2.7"),
        ("foo (=>1)", "foo>=1"),
        ("foo (= 1)", "foo==1"),
        ("foo (1.0)", "foo==1.0"),
        ("foo (~=3.*)", "foo~=3.0"),
        ("foo>=1.0.", "foo>=1.0"),
        ("foo>=3.*", "foo>=3"),
        ("foo!=3.0*", "foo!=3.0.*"),
        ("foo (>=1.0-foo)", "foo>=1.0"),
        ("foo (>=dev)", "foo"),
        ("foo; extra == test", None),
        ("foo>=1 ; python_version = '2.7'", "foo>=1"),
        ("", None),
        ("-e evil", None),
        ("foo @ http://host/a b", None),
    ],
)
def test_requirements(old: str, new: str | None) -> None:
    assert repair_requirement(old) == new


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (">=2.7, !=3.0.*", ">=2.7, !=3.0.*"),
        (">=3.*", ">=3"),
        ("3.6", ""),
        ("any", ""),
        (">=2.6.*,!=3.0*,<4", ">=2.6,!=3.0.*,<4"),
    ],
)
def test_requires_python(old: str, new: str) -> None:
    assert repair_specifiers(old, bare=False) == new


@given(
    st.text(max_size=60) | st.from_regex(r"[a-z]{1,5} ?\(?[<>=!~,. *0-9a-z'\"]{0,20}\)?( ?; ?[a-z_]+ ?== ?'?[a-z]'?)?")
)
def test_whatever_comes_can_be_read_afterwards(text: str) -> None:
    mended = repair_requirement(text)
    if mended is not None:
        Requirement(mended)
    SpecifierSet(repair_specifiers(text, bare=False))


@given(st.binary(max_size=300))
def test_metadata_never_raises(data: bytes) -> None:
    assert repair_metadata(data).endswith(b"\n\n")


def test_metadata_keeps_the_rest_and_drops_the_description() -> None:
    lines = (
        "Metadata-Version: 2.0",
        "Name: p",
        "Requires-Dist: a",
        " (>=1k)",
        "Requires-Python: 3.6",
        "",
        "Name: evil",
    )
    assert repair_metadata("\r\n".join(lines).encode()) == b"Metadata-Version: 2.0\nName: p\nRequires-Dist: a>=1.11\n\n"


def test_a_very_long_line_costs_nothing() -> None:
    assert repair_requirement("a" + "(" * 100_000) is None
    assert repair_specifiers(">" * 100_000) == ""
