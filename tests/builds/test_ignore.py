"""Docker's ignore syntax, against an oracle made of regular expressions."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rebind.builds.ignore import IgnoreRules


@pytest.mark.parametrize(
    ("lines", "out", "kept"),
    [
        (["*.pyc"], ["a.pyc", "a.pyc/b"], ["d/a.pyc", "a.py"]),
        (["**/*.pyc"], ["a.pyc", "d/a.pyc", "d/e/a.pyc"], ["pyc"]),
        (["data"], ["data", "data/x", "data/y/z"], ["database", "x/data"]),
        (["/data/"], ["data", "data/x"], ["x/data"]),
        (["./a/../data"], ["data"], ["a"]),
        ([".git"], [".git", ".git/config"], [".gitignore"]),
        (["*", "!keep", "!d/keep"], ["a", "d/a", "d"], ["keep", "keep/x", "d/keep"]),
        (["*", "!*.md", "README.md"], ["a", "README.md"], ["x.md"]),
        (["!a", "a"], ["a"], ["b"]),
        (["a/**"], ["a/b", "a/b/c"], ["a", "b"]),
        (["a/**/b"], ["a/b", "a/x/b", "a/x/y/b"], ["ab", "a/x"]),
        (["**"], ["a", "a/b", ".x"], []),
        (["a?c"], ["abc"], ["a/c", "ac", "abbc"]),
        (["[a-c]x", "[^n]y"], ["bx", "my"], ["dx", "ny"]),
        (["[a"], ["[a"], ["a"]),
        ([r"\*"], ["*"], ["a"]),
        (["# not", "", "  b  "], ["b"], ["# not", "a"]),
        (["."], [], ["a"]),
        (["/"], [], ["a"]),
        (["!"], [], ["a"]),
        (["../a"], [], ["a"]),
    ],
)
def test_patterns(lines, out, kept):
    rules = IgnoreRules(lines)
    assert [path for path in out if not rules.excludes(path)] == []
    assert [path for path in kept if rules.excludes(path)] == []


def test_no_lines_exclude_nothing():
    assert not IgnoreRules([]).excludes("a")


def test_pruning():
    assert IgnoreRules(["data"]).prunes("data")
    assert not IgnoreRules(["data"]).prunes("other")
    assert not IgnoreRules(["data", "!data/keep"]).prunes("data")


def test_hostile_patterns_take_no_longer_than_others():
    rules = IgnoreRules(["*a" * 10_000 + "b", "**/" * 1000 + "x", "**a" * 5000 + "b"])
    assert not rules.excludes("/".join(["a" * 250] * 8))
    assert not rules.excludes("/".join("a" * 2000))


def test_too_many_patterns_are_refused():
    with pytest.raises(ValueError, match="characters of patterns"):
        IgnoreRules(["a" * 1000] * 100)


def oracle(lines: list[str], path: str) -> bool:
    excluded = False
    parts = path.split("/")
    paths = ["/".join(parts[: n + 1]) for n in range(len(parts))]
    for line in lines:
        pattern = re.sub(r"\*\*/", "\0", line.removeprefix("!"))
        pattern = pattern.replace("**", "\1").replace("*", "[^/]*").replace("?", "[^/]")
        pattern = pattern.replace("\0", "(?:.*/)?").replace("\1", ".*")
        if any(re.fullmatch(pattern, each) for each in paths):
            excluded = not line.startswith("!")
    return excluded


component = st.text("ab*?", min_size=1, max_size=4).filter(lambda text: "***" not in text)
pattern = st.tuples(st.sampled_from(["", "!"]), st.lists(component, min_size=1, max_size=3)).map(
    lambda pair: pair[0] + "/".join(pair[1])
)
name = st.text("ab", min_size=1, max_size=4)


@settings(max_examples=500, deadline=None)
@given(st.lists(pattern, max_size=4), st.lists(name, min_size=1, max_size=3).map("/".join))
def test_as_regular_expressions_say(lines, path):
    assert IgnoreRules(lines).excludes(path) == oracle(lines, path)
