"""How far long work is: one line on a terminal's standard error, gone when the work is done; elsewhere nothing at all."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

Say = Callable[[str], None]


@contextmanager
def waiting(what: str, *, quiet: bool = False) -> Iterator[Say]:
    """Show `what` and for how long it has been so; call what is given with other words as the work goes on."""
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    console = Console(stderr=True, highlight=False)
    is_shown = not quiet and sys.stderr.isatty()
    with Progress(*columns, console=console, transient=True, disable=not is_shown) as shown:
        task = shown.add_task(what)
        yield lambda words: shown.update(task, description=words)
