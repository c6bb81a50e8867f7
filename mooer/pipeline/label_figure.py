"""The report as a picture: a histogram of every measure with its bounds, and the reasons why utterances were rejected."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mooer.common.errors import ConfigError
from mooer.common.files import atomic_write
from mooer.pipeline.label_filters import FilterConfig, bounds
from mooer.pipeline.label_folder import FIGURE_NAME, Tally

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

# Title, unit and largest value of the axis, and width of a bar, so that usual bounds lie between bars.
PANELS = {
    "confidence": ("Confidence of the transcript", "geometric mean of the tokens' probabilities (0 to 1)", 1.0, 0.01),
    "disagreement": ("Disagreement of the two transcripts", "edit distance / length of the longer text (0 to 1)", 1.0, 0.01),
    "characters_per_second": ("Speaking rate", "characters of the transcript, without spaces, a second (1/s)", math.inf, 0.5),
    "length_ratio": ("Length of the translation", "units of the translation / units of the transcript", math.inf, 0.1),
}
MAX_BARS = 60
# The axis shows what all but a few utterances have; the others are in the first and last bars.
SHOWN_PERCENTILES = (0.5, 99.5)
COLUMNS, ROW_INCHES, SMALL_ROW_INCHES = 2, 3.3, 2.4
MIN_BARS, LEGEND_ROOM = 4, 1.35
INSIDE_COLOUR, OUTSIDE_COLOUR, BOUND_COLOUR = "#4477aa", "#cc6677", "#222222"


def require_matplotlib() -> None:
    """Raise ConfigError if the figure could not be drawn in the end."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ConfigError("report.png needs matplotlib, which is not installed: pip install 'mooer[report]'") from error


def write_figure(folder: Path, tally: Tally, filters: FilterConfig) -> None:
    """Write report.png; equal numbers make equal bytes with the same matplotlib."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    measured = [name for name, values in tally.values.items() if values]
    rows = -(-len(measured) // COLUMNS)
    # The reasons take the free place of the last row, or else a row of their own.
    has_own_row = len(measured) % COLUMNS == 0
    heights = [ROW_INCHES] * rows + [SMALL_ROW_INCHES] * has_own_row
    figure = Figure(figsize=(11, 0.5 + sum(heights)), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(_headline(tally), fontsize=12)
    grid = figure.add_gridspec(len(heights), COLUMNS, height_ratios=heights)
    for place, name in enumerate(measured):
        axes = figure.add_subplot(grid[place // COLUMNS, place % COLUMNS])
        _draw_measure(axes, name, tally.values[name], bounds(filters)[name])
    _draw_reasons(figure.add_subplot(grid[-1, :] if has_own_row else grid[-1, -1]), tally)
    with atomic_write(folder / FIGURE_NAME, "wb") as stream:
        figure.savefig(stream, format="png", metadata={"Software": None})


def _headline(tally: Tally) -> str:
    total = tally.kept + tally.rejected + len(tally.failures)
    kept_hours, rejected_hours = tally.kept_seconds / 3600, tally.rejected_seconds / 3600
    return (
        f"Pseudo-labels of {total:,} utterances: {tally.kept:,} kept ({kept_hours:,.2f} h), "
        f"{tally.rejected:,} rejected ({rejected_hours:,.2f} h), {len(tally.failures):,} failed"
    )


def _draw_measure(axes: "Axes", name: str, values: list[float], kept: tuple[float, float]) -> None:
    """Histogram of a measure, with its bounds; what lies outside of them in another colour."""
    data = np.asarray(values)
    title, unit, largest, width = PANELS[name]
    edges = _edges(data, kept, largest, width)
    left, right = edges[0], edges[-1]
    shown = np.clip(data, left, right)
    inside = (data >= kept[0]) & (data <= kept[1])
    axes.hist(
        [shown[inside], shown[~inside]],
        bins=edges,
        stacked=True,
        color=[INSIDE_COLOUR, OUTSIDE_COLOUR],
        label=[_counted("within the bounds", inside), _counted("outside", ~inside)],
    )
    for bound, beyond, word in zip(kept, (left, right), ("at least", "at most"), strict=True):
        if math.isfinite(bound):
            axes.axvline(bound, color=BOUND_COLOUR, linestyle="--", linewidth=1.3, label=f"{word} {bound:g}")
            axes.axvspan(bound, beyond, color=OUTSIDE_COLOUR, alpha=0.08, linewidth=0)
    clipped = int(((data < left) | (data > right)).sum())
    axes.set_title(f"{title} ({len(data):,} measured)", fontsize=10)
    axes.set_xlabel(unit + (f"\n{clipped:,} beyond the axis, in the outermost bars" if clipped else ""), fontsize=9)
    axes.set_ylabel("utterances", fontsize=9)
    axes.set_xlim(left, right)
    axes.set_ylim(0, LEGEND_ROOM * axes.get_ylim()[1])
    axes.legend(fontsize=8, loc="upper center", ncols=2, framealpha=1.0)
    _count_along(axes.yaxis)


def _counted(what: str, chosen: np.ndarray) -> str:
    return f"{what}: {chosen.sum():,} ({100 * chosen.mean():.1f} %)"


def _edges(data: np.ndarray, kept: tuple[float, float], largest: float, width: float) -> np.ndarray:
    """The borders of the bars, from below to above the bounds and the usual values."""
    usual = np.percentile(data, SHOWN_PERCENTILES).tolist()
    points = [*usual, *(bound for bound in kept if math.isfinite(bound))]
    left, right = max(0.0, min(points) - 5 * width), min(largest, max(points) + 5 * width)
    width *= math.ceil((right - left) / (MAX_BARS * width))
    return width * np.arange(math.floor(left / width + 1e-9), math.ceil(right / width - 1e-9) + 1)


def _count_along(axis: "Axis") -> None:
    """Whole numbers along an axis, and lines behind the bars."""
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter

    axis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axis.grid(alpha=0.3)
    axis.axes.set_axisbelow(True)


def _draw_reasons(axes: "Axes", tally: Tally) -> None:
    """How many utterances each reason rejected, the most frequent one on top."""
    rows = [*tally.reasons.most_common(), *([("failed", len(tally.failures))] if tally.failures else [])]
    axes.set_title("Why utterances were left out (one may have several reasons)", fontsize=10)
    axes.set_xlabel("utterances", fontsize=9)
    axes.set_ylim(max(len(rows), MIN_BARS) - 0.5, -0.5)
    axes.set_yticks(range(len(rows)), [name.replace("_", " ") for name, _ in rows], fontsize=9)
    bars = axes.barh(range(len(rows)), [count for _, count in rows], height=0.7, color=OUTSIDE_COLOUR)
    axes.bar_label(bars, labels=[f"{count:,}" for _, count in rows], padding=3, fontsize=8)
    axes.set_xlim(0, 1.15 * max([1, *(count for _, count in rows)]))
    if not rows:
        axes.text(0.5, 0.5, "none was left out", ha="center", va="center", transform=axes.transAxes)
    _count_along(axes.xaxis)
