"""What a benchmark says: figures with their reference and their aim, as one table and as JSON."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import msgspec
from rich.console import Console
from rich.table import Table


class Figure(msgspec.Struct, omit_defaults=True, rename="camel"):
    """One line. ``rounds`` are the single measurements behind the median; ``ratio`` is figure to ``beside``."""

    what: str
    value: float | None
    unit: str
    beside: float | None = None
    beside_what: str = ""
    ratio: float | None = None
    aim: str = ""
    reached: bool | None = None
    rounds: list[float] = []
    loud: bool = False
    """Something was not measured or is wrong: shown in red."""


def median(what: str, rounds: Sequence[float], unit: str) -> Figure:
    """The median of several rounds."""
    return Figure(what, statistics.median(rounds), unit, rounds=list(rounds))


def against(figure: Figure, beside: float, what: str, *, ratio: float | None = None) -> Figure:
    """The figure beside a reference. ``ratio`` if it was taken round by round, which other load disturbs less."""
    assert figure.value is not None
    figure.beside, figure.beside_what = beside, what
    figure.ratio = figure.value / beside if ratio is None else ratio
    return figure


def at_least(figure: Figure, value: float | None, aim: float, text: str) -> Figure:
    """``value`` is None where there is nothing to compare with: then nobody can say whether the aim is reached."""
    figure.aim, figure.reached = text, None if value is None else value >= aim
    return figure


def under(figure: Figure, aim: float, text: str) -> Figure:
    figure.aim, figure.reached = text, figure.value is not None and figure.value < aim
    return figure


def missing(what: str, why: str) -> Figure:
    """A figure that there is not, loudly."""
    return Figure(f"{what}: {why}", None, "", reached=False, loud=True)


def show(sections: Sequence[tuple[str, Sequence[Figure]]], console: Console) -> None:
    """One table, a section for each benchmark."""
    table = Table(title="Keystead benchmarks", title_justify="left", header_style="bold")
    table.add_column("what", overflow="fold", ratio=1)
    for name in ("figure", "unit", "beside", "ratio", "aim", "reached"):
        right = name in ("figure", "ratio")
        table.add_column(name, justify="right" if right else "left", no_wrap=name not in ("beside", "aim"))
    for name, figures in sections:
        table.add_section()
        table.add_row(f"[bold]{name}[/bold]")
        for each in figures:
            beside = "" if each.beside is None else f"{_number(each.beside)} {each.beside_what}"
            reached = {None: "", True: "[green]yes[/green]", False: "[bold red]NO[/bold red]"}[each.reached]
            table.add_row(
                f"[bold white on red]{each.what}[/]" if each.loud else each.what,
                "-" if each.value is None else _number(each.value),
                each.unit,
                beside,
                "" if each.ratio is None else f"{each.ratio:.2f}",
                each.aim,
                reached,
            )
    console.print(table)


def _number(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
