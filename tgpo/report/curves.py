"""The curves over the steps: the band of each arm, from the records of a sweep or from its published results."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import pandas as pd

BAND = ["arm", "step", "mean", "low", "high", "runs"]
LOOSE = ["arm", "run", "step", "value"]


class Curves(Protocol):
    """`positive` leaves out values of 0 and below, which a logarithmic axis cannot represent."""

    def band(self, metric: str, positive: bool = False) -> pd.DataFrame:
        """Returns the band over the finished runs of each arm, with the columns of `BAND`."""
        ...

    def unfinished(self, metric: str, positive: bool = False) -> pd.DataFrame:
        """Returns the values of each run that did not finish, with the columns of `LOOSE`."""
        ...


@dataclass(frozen=True)
class RecordedCurves:
    """Curves from the frame of all records."""

    records: pd.DataFrame

    def band(self, metric: str, positive: bool = False) -> pd.DataFrame:
        values = self._values("counted", metric, positive)
        grouped = values.groupby(["arm", "step"], sort=False)["value"]
        return grouped.agg(mean="mean", low="min", high="max", runs="count").reset_index()[BAND]

    def unfinished(self, metric: str, positive: bool = False) -> pd.DataFrame:
        return self._values("unfinished", metric, positive)

    def _values(self, standing: str, metric: str, positive: bool) -> pd.DataFrame:
        if metric not in self.records:
            return pd.DataFrame({name: [] for name in LOOSE})
        measured = (self.records["standing"] == standing) & self.records[metric].notna()
        values = self.records.loc[measured, ["arm", "run", "step", metric]]
        values = values.rename(columns={metric: "value"}).astype({"value": float})
        return values[values["value"] > 0] if positive else values


@dataclass(frozen=True)
class PublishedCurves:
    """Curves from rows of `arm`, `metric`, `step`, and `value`, the mean of `runs` runs from `lowest` to `highest`.

    A row is one run (`runs` is 1), or the band of several runs of which only the band was kept; an arm's rows of both
    kinds are combined into one band.
    """

    rows: pd.DataFrame

    def band(self, metric: str, positive: bool = False) -> pd.DataFrame:
        rows = self.rows[self.rows["metric"] == metric]
        if positive:
            rows = rows[rows["value"] > 0]
        rows = rows.assign(total=rows["value"] * rows["runs"])
        grouped = rows.groupby(["arm", "step"], sort=False)
        band = grouped.agg(total=("total", "sum"), low=("lowest", "min"), high=("highest", "max"), runs=("runs", "sum"))
        return band.assign(mean=band["total"] / band["runs"]).reset_index()[BAND]

    def unfinished(self, metric: str, positive: bool = False) -> pd.DataFrame:
        return pd.DataFrame({name: [] for name in LOOSE})
