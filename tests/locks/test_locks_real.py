"""The step before the real package index (marked network), with cases that were found by hand."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rebind.errors import InterpreterError
from rebind.locks import DatedIndex, Interpreters, Locker
from rebind.sandbox import Egress, EgressPolicy, capabilities, run
from rebind.values import Event, LockedPlan, Plan, PythonNeed, Requirements

pytestmark = [
    pytest.mark.network,
    pytest.mark.skipif(not capabilities().isolation, reason="this machine allows no user namespaces"),
]
UPSTREAM = "https://pypi.org/simple"


@pytest.fixture(scope="module")
def locker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Locker]:
    data = tmp_path_factory.mktemp("data")
    index = DatedIndex(data, UPSTREAM, socket=data / "i.sock")
    index.start()
    policy = EgressPolicy(allowed_hosts=index.hosts)
    owner = 61000 if os.getuid() == 0 else None
    with Egress(policy, data / "out" / "e.sock", {"pypi.rebind.internal": index.socket}) as egress:
        yield Locker(
            data=data,
            index_url=UPSTREAM,
            egress=egress,
            interpreters=Interpreters(data, download=False),
            run_confined=run,
            owner=owner,
        )
    index.stop()


def lock(locker: Locker, python: str, day: str, *lines: str) -> tuple[dict[str, str], LockedPlan]:
    events: list[Event] = []
    when = datetime.fromisoformat(day).replace(tzinfo=UTC) if day else datetime.now(UTC)
    plan = Plan(python=PythonNeed(python), requirements=Requirements(lines))
    try:
        locked = locker.lock(plan, Path("/nonexistent"), when, events.append)
    except InterpreterError as error:
        pytest.skip(str(error))
    return {package.name: package.version for package in locked.packages}, locked


def test_pandas_of_2018_is_not_0_11(locker: Locker) -> None:
    versions, _ = lock(locker, "3.6", "2018-01-01", "pandas")
    assert versions["pandas"] == "0.22.0"


def test_the_talks_day(locker: Locker) -> None:
    versions, locked = lock(locker, "3.6", "2017-09-11", "numpy", "pandas", "matplotlib")
    assert versions["numpy"] == "1.13.1"
    assert versions["pandas"] == "0.20.3"
    assert versions["matplotlib"] == "2.0.2"
    assert versions["ipykernel"] == "4.6.1"
    assert versions["setuptools"] == "36.4.0"
    assert max(package.uploaded for package in locked.packages if package.uploaded) <= locked.date
    assert all(package.url.startswith("https://files.pythonhosted.org/") for package in locked.packages)


def test_today(locker: Locker) -> None:
    versions, locked = lock(locker, "3.10", "", "numpy", "pandas", "matplotlib")
    assert int(versions["numpy"].split(".")[0]) >= 2
    assert not locked.joined
    assert all(package.is_wheel for package in locked.packages)


def test_a_pin_newer_than_the_date(locker: Locker) -> None:
    versions, locked = lock(locker, "3.10", "2023-01-01", "numpy==1.26.4")
    assert versions["numpy"] == "1.26.4"
    assert locked.date == datetime(2024, 2, 6, 0, 26, 7, tzinfo=UTC).replace(second=locked.date.second)
    assert "numpy==1.26.4" in locked.warnings[0]


def test_voila_joins(locker: Locker) -> None:
    versions, locked = lock(locker, "3.10", "2024-01-01", "voila")
    assert locked.joined
    assert versions["jupyterlab"].startswith("4.")


def test_a_metapackage_does_not_join(locker: Locker) -> None:
    _, locked = lock(locker, "3.10", "2024-01-01", "jupyter")
    assert not locked.joined


def test_python_2(locker: Locker) -> None:
    versions, locked = lock(locker, "2.7", "2017-09-11", "numpy", "matplotlib")
    assert versions["numpy"] == "1.13.1"
    assert versions["ipykernel"] == "4.6.1"
    assert locked.python.startswith("2.7.")


def test_python_2_after_its_end(locker: Locker) -> None:
    """Three releases of pyrsistent say nowhere in the index that they are for Python 3 alone."""
    versions, _ = lock(locker, "2.7", "2021-09-11", "six")
    assert versions["pyrsistent"] == "0.16.1"
