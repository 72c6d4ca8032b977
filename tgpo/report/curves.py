"""What is drawn over the steps: each arm's band, from the records of a sweep or from what is published of one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import pandas as pd

BAND = ["arm", "step", "mean", "low", "high", "runs"]
LOOSE = ["arm", "run", "step", "value"]


class Curves(Protocol):
    """`positive` leaves out values of 0 and below, which a logarithmic axis has no place for."""

    def band(self, metric: str, positive: bool = False) -> pd.DataFrame:
        """Over the finished runs of each arm: the columns of `BAND`."""
        ...

    def unfinished(self, metric: str, positive: bool = False) -> pd.DataFrame:
        """Run by run, those that did not finish: the columns of `LOOSE`."""
        ...


@dataclass(frozen=True)
class RecordedCurves:
    """From the frame of all records."""

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
        found = self.records.loc[measured, ["arm", "run", "step", metric]]
        found = found.rename(columns={metric: "value"}).astype({"value": float})
        return found[found["value"] > 0] if positive else found


@dataclass(frozen=True)
class PublishedCurves:
    """From rows of `arm`, `metric`, `step`, and `value`, the mean of `runs` runs from `lowest` to `highest`.

    A row is one run (`runs` 1), or the band of several of which only that is left: both kinds of an arm make one band.
    """

    rows: pd.DataFrame

    def band(self, metric: str, positive: bool = False) -> pd.DataFrame:
        found = self.rows[self.rows["metric"] == metric]
        if positive:
            found = found[found["value"] > 0]
        found = found.assign(total=found["value"] * found["runs"])
        grouped = found.groupby(["arm", "step"], sort=False)
        band = grouped.agg(total=("total", "sum"), low=("lowest", "min"), high=("highest", "max"), runs=("runs", "sum"))
        return band.assign(mean=band["total"] / band["runs"]).reset_index()[BAND]

    def unfinished(self, metric: str, positive: bool = False) -> pd.DataFrame:
        return pd.DataFrame({name: [] for name in LOOSE})
