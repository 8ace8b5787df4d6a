"""Pictures of an evaluation, drawn by matplotlib (optional): ``pip install 'boneprint[plots]'``."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from boneprint.database import Database
from boneprint.errors import BoneprintError
from boneprint.evaluation import Evaluation, Part
from boneprint.truth import bone_key

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FloatArray = NDArray[np.float64]

_DPI = 150
_BONES, _STRANGERS = 10, 3  # that can be told apart by colour; of them not enrolled
# Ticks of a DET curve, as shares.
_TICKS = (1e-4, 1e-3, 0.01, 0.05, 0.2, 0.4, 0.6)


def write_plots(database: Database, evaluation: Evaluation, folder: Path | str) -> list[Path]:
    """CMC, DET, distances of same and different bones, and the fingerprints by PCA and t-SNE, one PNG each.

    Raises
    ------
    BoneprintError
        If matplotlib or scikit-learn is not installed.
    """
    check_installed()
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    whole = [part for part in evaluation.parts if part.stratum is None]
    pictures: dict[str, Callable[[], Figure]] = {
        "cmc": lambda: _cmc(evaluation, whole),
        "det": lambda: _det(whole),
        "distances": lambda: _distances(evaluation, whole),
        "pca": lambda: _embedded(database, evaluation, "PCA", _pca),
        "tsne": lambda: _embedded(database, evaluation, "t-SNE", lambda rows: _tsne(rows, evaluation.seed)),
    }
    written = []
    for name, draw in pictures.items():
        written.append(folder / f"{name}.png")
        draw().savefig(written[-1], dpi=_DPI)
    return written


def check_installed() -> None:
    """Refuse to begin where the pictures could not be drawn at the end.

    Raises
    ------
    BoneprintError
        If matplotlib or scikit-learn is not installed.
    """
    try:
        import matplotlib.figure  # noqa: F401
        import sklearn.manifold  # noqa: F401
    except ImportError as error:
        raise BoneprintError(
            f"pictures need {error.name}, which is not installed: pip install 'boneprint[plots]'. "
            "Without --plots everything is measured all the same."
        ) from error


def _figure(panels: int = 1) -> tuple["Figure", list["Axes"]]:
    # Not pyplot: no window, no state that lives on.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4 * panels, 5.0), layout="constrained")
    return figure, list(figure.subplots(1, panels, squeeze=False)[0])


def _cmc(evaluation: Evaluation, whole: list[Part]) -> "Figure":
    """Share of searches that list the right bone among the first R, with its interval."""
    from matplotlib.ticker import MaxNLocator

    figure, (axes,) = _figure()
    for part in whole:
        rates = part.outcome.cumulative_match
        if rates:
            ranks = np.arange(1, len(rates) + 1)
            (line,) = axes.plot(
                ranks, [r.value for r in rates], marker=".", label=f"{_named(part)} ({part.outcome.mated})"
            )
            low, high = np.transpose([r.interval for r in rates])
            axes.fill_between(ranks, low, high, alpha=0.2, color=line.get_color(), linewidth=0)
    axes.set(
        xlabel="rank R",
        ylabel="mated searches with the bone at rank R or better",
        title=f"Cumulative match characteristic, N = {evaluation.gallery} bones",
    )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    return figure


def _det(whole: list[Part]) -> "Figure":
    """FNMR against FMR, both on the scale of a normal deviate.

    A. Martin et al., "The DET curve in assessment of detection task performance", Eurospeech 1997.
    """
    figure, (axes,) = _figure()
    ends = ndtri([_TICKS[0] / 2, _TICKS[-1]])
    for part in whole:
        measured = part.outcome.verification
        if measured:
            # A rate of nothing is drawn at the border: it lies at minus infinity.
            shown = [
                np.clip(ndtri(rates), *ends)
                for rates in (measured.tradeoff.false_match_rate, measured.tradeoff.false_non_match_rate)
            ]
            (line,) = axes.step(*shown, where="post", label=_named(part))
            at = np.clip(ndtri([measured.false_match, measured.false_non_match]), *ends)
            axes.plot(*at, "o", color=line.get_color(), label=f"T = {part.threshold.value:.3f}")
    axes.plot(ends, ends, color="silver", linewidth=0.8, label="equal error rates")
    axes.set(
        xlabel="false match rate (FMR)",
        ylabel="false non-match rate (FNMR)",
        title="Detection error trade-off",
        xlim=ends,
        ylim=ends,
    )
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks(ndtri(_TICKS), [f"{100 * tick:g} %" for tick in _TICKS])
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def _distances(evaluation: Evaluation, whole: list[Part]) -> "Figure":
    """How far probes are from their own bone and from others, as S1's Figure 4."""
    figure, panels = _figure(max(1, len(whole)))
    for axes, part in zip(panels, whole):
        searches = evaluation.searches.of(part.chosen)
        others = np.arange(searches.gallery) != searches.truth[:, None]
        kinds: dict[str, tuple[FloatArray, dict[str, Any]]] = {
            "same bone": (searches.mate, {"color": "tab:green", "alpha": 0.5}),
            "different bones": (searches.distance[others], {"color": "tab:red", "alpha": 0.5}),
            "nearest wrong bone of a search": (searches.nearest_other, {"color": "black", "histtype": "step"}),
        }
        farthest = searches.distance[np.isfinite(searches.distance)].max(initial=0.0)
        edges = np.linspace(0, max(float(farthest), part.threshold.value), 41).tolist()
        for name, (distances, look) in kinds.items():
            values = distances[np.isfinite(distances)]
            share = np.full(len(values), 1 / max(len(values), 1))
            axes.hist(values, edges, weights=share, label=f"{name} ({len(values)})", **look)
        axes.axvline(part.threshold.value, color="black", linestyle="--", label=f"T = {part.threshold.value:.3f}")
        axes.set(xlabel="distance", ylabel="share of comparisons", title=_named(part))
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2)
    return figure


def _embedded(
    database: Database,
    evaluation: Evaluation,
    method: str,
    flatten: Callable[[NDArray[np.float32]], NDArray[np.floating]],
) -> "Figure":
    """Fingerprints of the first bones searched with: enrolled views as dots, in a ring; probes as stars."""
    figure, (axes,) = _figure()
    rows, bone, probe, canvas_mm = _fingerprints(database, evaluation)
    flat = flatten(rows)
    for place, number in enumerate(dict.fromkeys(bone.tolist())):
        name = evaluation.bones[number] + ("" if number < evaluation.gallery else ", not enrolled")
        views, probes = (flat[(bone == number) & (probe == which)].T for which in (False, True))
        axes.plot(*views, ".", color=f"C{place}")
        axes.plot(*probes, "*", color=f"C{place}", markersize=13, markeredgecolor="black", label=name)
    axes.set(
        xticks=[],
        yticks=[],
        title=f"{method}, canvas of {canvas_mm:g} mm\nviews: dots; probes: stars",
    )
    axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def _fingerprints(
    database: Database, evaluation: Evaluation
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.bool_], float]:
    """Rows (M, D) of one canvas, the bone (M,) of each, whether it is a probe's (M,), and that canvas in mm.

    Fingerprints of two canvases cannot be compared: the one with most enrolled bones is taken.
    """
    gallery, truth = database.store.gallery(), evaluation.searches.truth.tolist()
    usable = [(number, each.vectors) for number, each in zip(truth, evaluation.fingerprints) if each]
    if not usable:
        raise BoneprintError("no probe could be embedded, so there is nothing to draw. See what failed to acquire.")
    heights = sorted({height for _, vectors in usable for height in vectors})
    canvas_mm = max(heights, key=lambda height: np.sum(gallery.canvases_mm == height))
    searched = list(dict.fromkeys(number for number, vectors in usable if canvas_mm in vectors))
    strangers = [number for number in searched if number >= evaluation.gallery][:_STRANGERS]
    pictured = {number for number in searched if number < evaluation.gallery}
    pictured = {*sorted(pictured)[: _BONES - len(strangers)], *strangers}
    numbered = {key: number for number, key in enumerate(evaluation.keys)}
    enrolled = [
        (numbered[bone_key(reference)], gallery.rows.of(row))
        for row, reference in enumerate(gallery.references)
        if numbered.get(bone_key(reference)) in pictured and reference.canvas_mm == canvas_mm
    ]
    probes = [(number, vectors[canvas_mm]) for number, vectors in usable if number in pictured]
    return (
        np.concatenate([rows.astype(np.float32) for _, rows in enrolled + probes]),
        np.concatenate([np.full(len(rows), number) for number, rows in enrolled + probes]),
        np.arange(sum(len(rows) for _, rows in enrolled + probes)) >= sum(len(rows) for _, rows in enrolled),
        canvas_mm,
    )


def _named(part: Part) -> str:
    return f"{part.radiographs} radiograph{'s' if part.radiographs > 1 else ''} a search"


def _pca(rows: NDArray[np.float32]) -> NDArray[np.floating]:
    """The two directions of greatest variance: (M, 2)."""
    centred = rows - rows.mean(axis=0)
    return np.asarray(centred @ np.linalg.svd(centred, full_matrices=False)[2][:2].T)


def _tsne(rows: NDArray[np.float32], seed: int) -> NDArray[np.floating]:
    """L. van der Maaten, G. Hinton, "Visualizing data using t-SNE", JMLR 9, 2008: (M, 2)."""
    from sklearn.manifold import TSNE

    # It wants fewer neighbours than rows; 30 is its authors' usual number.
    near = min(30.0, (len(rows) - 1) / 3)
    return np.asarray(TSNE(perplexity=near, init="pca", random_state=seed).fit_transform(rows))
