"""Prints the rows of a preflight: as a table on a terminal, as plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tgpo.preflight.checks import Row

STYLES = {"problem": "bold red", "note": "yellow", "not looked at": "dim", "in order": "green"}


def show(rows: Sequence[Row], console: Console | None = None) -> None:
    console = console or Console()
    if not console.is_terminal:
        widest = max(len(row.name) for row in rows)
        for row in rows:
            print(f"{row.state:<13}  {row.name:<{widest}}  {row.text}", flush=True)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("", no_wrap=True)
    table.add_column("looked at", no_wrap=True)
    table.add_column("found")
    for row in rows:
        table.add_row(Text(row.state, STYLES[row.state]), row.name, Text(row.text))
    console.print(table)
