"""Parts that all charts share. One specification makes both the page's chart, with values on hover, and the SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import altair as alt
import vl_convert

# Okabe and Ito's palette with a lighter blue: most colour-blind readers can distinguish them, on white and on black
COLOURS = ("#2B83C6", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9")
HEIGHT, SVG_WIDTH = 220, 520
alt.data_transformers.disable_max_rows()  # Altair raises above 5,000 rows, and three lines of a long run have more


@dataclass(frozen=True)
class Panel:
    """`slug` names the SVG file; `caption` says what to look for. The layers are Altair charts."""

    slug: str
    title: str
    caption: str
    layers: Sequence[Any]
    hover: Any = None
    height: int = HEIGHT
    params: Sequence[Any] = field(default_factory=tuple)
    legend: bool = True  # on the page; an SVG always has a legend

    def spec(self) -> dict[str, Any]:
        """Returns the Vega-Lite specification for the page: as wide as its column, with values on hover."""
        layers = [*self.layers, *([self.hover] if self.hover is not None else [])]
        specification = self.chart(layers).properties(width="container").to_dict()
        if not self.legend:
            for layer in specification["layer"]:
                layer["encoding"].get("color", {}).update(legend=None)
        return specification

    def svg(self) -> str:
        return to_svg(self.chart(self.layers).properties(width=SVG_WIDTH))

    def chart(self, layers: Sequence[Any]) -> Any:
        chart = alt.layer(*layers).properties(height=self.height)
        return chart.add_params(*self.params) if self.params else chart

    def template_values(self) -> dict[str, Any]:
        """Returns the values that the page's template reads."""
        return {"slug": self.slug, "title": self.title, "caption": self.caption, "height": self.height,
                "spec": self.spec()}  # fmt: skip


def to_svg(chart: Any) -> str:
    """Returns the chart as SVG on white, rendered without a browser."""
    version = ".".join(alt.SCHEMA_VERSION[1:].split(".")[:2])
    return vl_convert.vegalite_to_svg(chart.properties(background="white").to_dict(), vl_version=version)


def x_of_steps() -> Any:
    return alt.X("step:Q", title="step (rollout batch)", axis=alt.Axis(tickMinStep=1, format="d"))


def nearest(fields: Sequence[str]) -> Any:
    """Returns a selection of the point that is nearest to the pointer."""
    return alt.selection_point(nearest=True, on="pointerover", fields=list(fields), empty=False, clear="pointerout")
