"""Raw figures of one benchmark, their table, and the file that keeps them."""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench import machine

RESULTS = Path(__file__).parent / "results"


@dataclass(slots=True)
class Series:
    """All values of one case in one unit."""

    case: str
    side: str
    """`ours` or the peer's name."""
    unit: str
    values: list[float] = field(default_factory=list)
    note: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.values)


@dataclass(slots=True)
class Figures:
    """The series of one benchmark."""

    name: str
    series: list[Series] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, case: str, side: str, unit: str, value: float, note: str = "") -> None:
        """Appends a value to the series of that case, side and unit."""
        for one in self.series:
            if (one.case, one.side, one.unit) == (case, side, unit):
                break
        else:
            one = Series(case, side, unit, note=note)
            self.series.append(one)
        one.values.append(round(value, 4))

    def show(self) -> None:
        table = Table(title=self.name, title_justify="left")
        for heading in ("case", "side", "unit"):
            table.add_column(heading)
        for heading in ("median", "least", "most", "n", "ours/peer"):
            table.add_column(heading, justify="right")
        for one in self.series:
            numbers = [f"{x:.3f}" for x in (one.median, min(one.values), max(one.values))]
            table.add_row(one.case, one.side, one.unit, *numbers, str(len(one.values)), self._ratio(one))
        Console(width=140).print(table)
        for note in self.notes:
            print(f"  {note}")

    def _ratio(self, one: Series) -> str:
        if one.side.startswith("ours") or not one.median:
            return ""
        ours = [s for s in self.series if s.side.startswith("ours") and (s.case, s.unit) == (one.case, one.unit)]
        return " ".join(f"{s.median / one.median:.3f}" for s in ours)

    def keep(self) -> Path:
        """Writes everything to bench/results/<name>-<date>.json."""
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / f"{self.name}-{datetime.now(UTC):%Y-%m-%d}.json"
        document = {
            "benchmark": self.name,
            "taken": f"{datetime.now(UTC):%Y-%m-%dT%H:%MZ}",
            "machine": machine.facts(),
            "notes": self.notes,
            "series": [
                {"case": s.case, "side": s.side, "unit": s.unit, "note": s.note, "median": s.median, "values": s.values}
                for s in self.series
            ],
        }
        path.write_text(json.dumps(document, indent=1) + "\n")
        return path

    def done(self, keep: bool) -> None:
        self.show()
        if keep:
            print(f"kept in {self.keep().relative_to(RESULTS.parent.parent)}")
