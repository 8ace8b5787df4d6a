"""What is lost where nobody knows the pixel spacing of a radiograph: `search --any-scale` beside a search at its size.

    python benchmarks/unknown_spacing.py femur=100+900

The people, views and radiographs of `identify.py`, from its cache. Each radiograph is searched for once as it is, and
once without its spacing, at every size that `search_any_scale` tries; a bone is then as far away as at its best size.
"""

import argparse
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import identify
import matching
import numpy as np
import rendered_bones
import report
import torch
from identify import Wanted
from numpy.typing import NDArray

from boneprint.any_scale import STEP, spacings_to_try
from boneprint.embed import Embedder, load_embedder, weights
from boneprint.embed.card import SHIPPED
from boneprint.evidence.identification import Searches, rate
from boneprint.nouns import Radiograph, canvas_of_height
from boneprint.probe import can_hold, content_mm
from boneprint.two_visits import SIDES, Scanning


def main(arguments: Sequence[str] | None = None) -> None:
    """Render what is missing, search with and without spacing, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wanted", nargs="*", type=Wanted.parse, default=[Wanted("femur", 100, 900)], metavar="KIND=N+M")
    parser.add_argument("--seed", type=int, default=31, help="of the cohort, as in identify.py")
    parser.add_argument("--cache", type=Path, default=identify.CACHE, help="where rendered bones are kept")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--weights", type=Path, default=SHIPPED)
    parser.add_argument("--name", default="unknown-spacing", help="of the JSON")
    parser.add_argument("--results", type=Path, default=report.RESULTS, help="where the JSON goes")
    given = parser.parse_args(arguments)

    scanning, embedder = Scanning(), load_embedder(given.weights)
    folder = rendered_bones.home(given.cache, scanning)
    print(report.heading())
    kinds = {}
    for wanted in given.wanted:
        rendered_bones.build(wanted.tasks(folder, scanning, given.seed, "human"), given.workers, what=wanted.part)
        kinds[wanted.part] = score(wanted, folder, embedder, given.seed)
        print(table(str(wanted), kinds[wanted.part]), flush=True)
    report.write(
        given.name,
        {
            "question": "rank 1 with pixel spacing, and without it by the best of many sizes",
            "bones": " ".join(map(str, given.wanted)),
            "embedder": embedder.id,
            "seed": given.seed,
            "step": STEP,
            "interval": "95 %, bootstrap over bones; 3 / bones where nothing went wrong",
            "kinds": kinds,
        },
        given.results,
    )


def score(wanted: Wanted, folder: Path, embedder: Embedder, seed: int) -> dict[str, object]:
    """Rank 1 of every side either way, and at what size the true bones came nearest."""
    names = wanted.names(seed, "human")
    gallery = matching.enrolled(
        [rendered_bones.views_path(folder, name) for name in names], embedder, [wanted.part] * len(names)
    )
    paths = [rendered_bones.probes_path(folder, name) for name in names[: wanted.probed]]
    probes = matching.probed(paths, list(gallery.views), embedder)
    known = matching.distances(gallery, probes)
    truth = np.arange(len(paths))
    found: dict[str, object] = {
        "failed_to_enrol": len(gallery.missing),
        "failed_to_acquire": len(probes.missing),
    }
    for side in SIDES:
        each_probe = [at_any_size(path, side, gallery, embedder) for path in paths]
        distance, ratio, sizes = (np.stack(each) for each in zip(*each_probe))
        searches = {"known": Searches(known[side], truth), "unknown": Searches(distance, truth)}
        own = ratio[truth, truth]
        own = own[np.isfinite(own)]
        found[side] = {
            **{
                spacing: {f"rank_{r}": asdict(rate(each.rank <= r, truth)) for r in (1, 5)}
                for spacing, each in searches.items()
            },
            "sizes_tried": float(sizes.mean()),
            "own_size_within_a_step": float((np.abs(np.log(own)) <= np.log(STEP)).mean()),
            "own_size_median_error": float(np.median(np.abs(own - 1))),
        }
    return found


def at_any_size(
    path: Path, side: str, gallery: matching.Gallery, embedder: Embedder
) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
    """Distances (N,) of a radiograph at each bone's best size, that over its true size (N,), how many were tried."""
    arrays = rendered_bones.load(path)
    best, ratio = np.full(gallery.bones, np.inf), np.full(gallery.bones, np.nan)
    if arrays is None:
        return best, ratio, 0
    true_mm = float(arrays[f"{side}_mm"])
    bare = Radiograph(arrays[side].astype(np.float32), None, None, side)
    tried = spacings_to_try(list(gallery.views), [bare])
    for canvas_mm, (numbers, views) in gallery.views.items():
        sizes = [replace(bare, spacing_mm=mm) for mm in tried]
        sizes = [each for each in sizes if can_hold(canvas_mm, content_mm(each)[0])]
        vectors = torch.from_numpy(embedder.embed(sizes, canvas_of_height(canvas_mm))).to(weights.device())
        alike = torch.stack([(of_bone @ vectors.T).amax(dim=0) for of_bone in views])
        nearest, at = (each.cpu().numpy() for each in alike.max(dim=1))
        best[numbers] = np.sqrt(np.clip(2 - 2 * nearest.astype(np.float64), 0, None)) * gallery.factors[numbers]
        ratio[numbers] = np.array([each.spacing_mm for each in sizes])[at] / true_mm
    return best, ratio, len(tried)


def table(bones: str, found: dict[str, object]) -> str:
    """The outcome for people."""
    lines = [f"{bones}: rank 1 with the spacing, and without it"]
    for side in SIDES:
        each = found[side]
        cells = [
            f"{each[spacing]['rank_1']['value']:.1%} ({each[spacing]['rank_1']['interval'][0]:.1%}-"
            f"{each[spacing]['rank_1']['interval'][1]:.1%})"
            for spacing in ("known", "unknown")
        ]
        lines.append(
            f"  {side}: {cells[0]}, {cells[1]}; {each['sizes_tried']:.0f} sizes tried, own size within a step "
            f"{each['own_size_within_a_step']:.0%}, median error {each['own_size_median_error']:.1%}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
