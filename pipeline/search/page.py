"""The page of a search: what it found, how it came there, and what decides the objective."""

from __future__ import annotations

from pipeline.files import atomic
from pipeline.reporting.page import render_page
from pipeline.search.plots import plot_history, plot_importance, plot_parallel
from pipeline.search.results import NAMES, Found
from pipeline.search.space import Space
from pipeline.search.studies import MAXIMISED
from pipeline.search.table import STATES, shown, shown_values

# Number of trials in the table; the rest stand in search.json.
MOST_ROWS = 200


def write_page(found: Found, space: Space) -> None:
    """Write the page of a search, which needs nothing else to be shown.

    Args:
        found: What the search found.
        space: The space.
    """
    atomic.write_bytes(found.page, render(found, space).encode())


def render(found: Found, space: Space) -> str:
    """Return the page of a search as HTML.

    Args:
        found: What the search found.
        space: The space.
    """
    maximises, rows = found.objective in MAXIMISED, found.trials
    ranked = sorted(rows, key=lambda row: _rank(row.value, row.state, maximises=maximises))
    return render_page(
        "pipeline.search",
        "report.html.jinja",
        title=found.study,
        found=found,
        measured=NAMES[found.objective],
        values=shown_values(found.best.values),
        names=[axis.name for axis in space.axes],
        rows=ranked[:MOST_ROWS],
        left_out=max(0, len(rows) - MOST_ROWS),
        states=STATES,
        shown=shown,
        counts={state: sum(row.state == state for row in rows) for state in STATES},
        work_s=sum(row.seconds for row in rows),
        history=plot_history(rows, found.objective, maximises=maximises),
        importance=plot_importance(found.importance) if found.importance else None,
        parallel=plot_parallel(rows, space, found.objective, maximises=maximises),
    )


def _rank(value: float | None, state: str, *, maximises: bool) -> tuple[int, float]:
    """Return what trials are sorted by: those that were done by their value, then others, then failures."""
    if value is None:
        return 2, 0.0
    return int(state != "done"), -value if maximises else value
