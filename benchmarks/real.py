"""Real recordings: three reconstructions of one skull phantom. Natural chest radiographs have ``chest.py``.

    python benchmarks/real.py

Reading takes the whole installation; once ``--among 0 --render-only`` has rendered the real CTs, it is not needed any
more, as on a machine with a GPU and little else.

Each reconstruction is a probe, as a whole CT and by radiographs rendered from it, in a gallery of the two others and of
other bones and heads: hip bones, vertebrae and random bodies of the simulation, and the other real CTs at hand.
"""

import argparse
import tempfile
import zipfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import matching
import numpy as np
import real_bodies
import rendered_bones
import report
import torch
from identify import CACHE, Wanted
from numpy.typing import NDArray

from boneprint import two_visits
from boneprint.embed import Embedder, load_embedder
from boneprint.embed.card import SHIPPED
from boneprint.nouns import AIR_HU, Volume
from boneprint.two_visits import Arrays, Scanning

SKULLS = ("plastic_head_bone_1mm", "plastic_head_std_1mm", "plastic_head_std_5mm")
OTHERS = (
    "head_ge_tilted/ge_head_dicom.zip",
    "chest_acrin013/chest_acrin013_dicom.zip",
    "chest_lungfcp/lungfcp0001_chest_bonecrop_2x.nii.gz",
    "pelvis_totalsegmentator/example_ct.nii.gz",
)
STRANGERS = ("hip", "vertebra", "lump")
_CUT_HU = -200.0  # the skulls' files hold nothing below: there it is air


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, render, search, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=real_bodies.DATA)
    parser.add_argument("--among", type=int, default=100, help="simulated bones of each of three kinds")
    parser.add_argument("--seed", type=int, default=31, help="of the cohort; poses and exposures follow from it")
    parser.add_argument("--cache", type=Path, default=CACHE, help="where rendered bones are kept; shared with identify")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--render-only", action="store_true")
    parser.add_argument("--weights", type=Path, default=SHIPPED)
    parser.add_argument("--name", default="real", help="of the JSON")
    parser.add_argument("--results", type=Path, default=report.RESULTS, help="where the JSON goes")
    given = parser.parse_args(arguments)
    folder = rendered_bones.home(given.cache, Scanning())
    prepared = all(rendered_bones.probes_path(folder / "real", name).exists() for name in SKULLS)
    if not ((given.data / "ct").is_dir() or prepared):
        print(f"skipped: no real recordings in {given.data}; say where with --data")
        return
    rendered_bones.build(tasks(folder, given), given.workers)
    if given.render_only:
        return
    embedder = load_embedder(given.weights)
    print(report.heading())
    found = skulls(folder, given, embedder)
    print(table(found))
    report.write(given.name, {"embedder": embedder.id, "seed": given.seed, "skull": found}, given.results)


def tasks(folder: Path, given: argparse.Namespace) -> dict[Path, rendered_bones.Make]:
    """The strangers, the skulls from both sides of the benchmark, and the other real CTs."""
    made: dict[Path, rendered_bones.Make] = {}
    for kind in STRANGERS:
        made |= Wanted(kind, 0, given.among).tasks(folder, Scanning(), given.seed, "human")
    for name in SKULLS:
        file = given.data / "ct" / "skull_philips" / f"{name}.nii.gz"
        made[rendered_bones.views_path(folder / "real", name)] = partial(skull_views, file)
        made[rendered_bones.probes_path(folder / "real", name)] = partial(skull_probes, file, given.seed)
    for other in OTHERS:
        made[rendered_bones.views_path(folder / "real", Path(other).parent.name)] = partial(
            other_views, given.data / "ct" / other
        )
    return made


def skull_views(file: Path) -> Arrays:
    return two_visits.views_of(_skull(file))


def skull_probes(file: Path, seed: int) -> Arrays:
    rng = np.random.default_rng((seed, *file.name.encode()))
    return two_visits.probes_of(_skull(file), np.eye(3), rng)


def _skull(file: Path) -> Volume:
    from boneprint import views  # reads files

    volume = views.single_ct(file).load().volume
    return Volume(np.where(volume.hu <= _CUT_HU, AIR_HU, volume.hu).astype(np.float32), volume.affine)


def other_views(file: Path) -> Arrays:
    """The views of a CT in its file or in a zip archive."""
    from boneprint import views  # reads files

    if file.suffix != ".zip":
        return two_visits.views_of(views.single_ct(file).load().volume)
    with tempfile.TemporaryDirectory() as unpacked:
        with zipfile.ZipFile(file) as archive:
            archive.extractall(unpacked)
        return two_visits.views_of(views.single_ct(unpacked).load().volume)


def skulls(folder: Path, given: argparse.Namespace, embedder: Embedder) -> dict[str, object]:
    """Rank of each reconstruction among the strangers when another is the probe."""
    names = [name for kind in STRANGERS for name in Wanted(kind, 0, given.among).names(given.seed, "human")]
    paths = [rendered_bones.views_path(folder, name) for name in names]
    paths += [rendered_bones.views_path(folder / "real", Path(other).parent.name) for other in OTHERS]
    first = len(paths)
    paths += [rendered_bones.views_path(folder / "real", name) for name in SKULLS]
    kinds = [kind for kind in STRANGERS for _ in range(given.among)]
    gallery = matching.enrolled(paths, embedder, kinds + [""] * (len(paths) - len(kinds)))
    probes = matching.probed(
        [rendered_bones.probes_path(folder / "real", n) for n in SKULLS], list(gallery.views), embedder
    )
    distance = {**matching.distances(gallery, probes), "CT": _all_round(gallery, first)}
    own_canvas = {mm for mm, (numbers, _) in gallery.views.items() if int(numbers.max()) >= first}
    ranks = {
        kind: {
            probe: {
                other: int(1 + (each[at, :first] <= each[at, first + to]).sum())
                for to, other in enumerate(SKULLS)
                if to != at
            }
            for at, probe in enumerate(SKULLS)
        }
        for kind, each in distance.items()
    }
    return {
        "others": first,
        "failed_to_enrol": len(gallery.missing),
        "others_on_its_canvas": sum(int((gallery.views[mm][0] < first).sum()) for mm in own_canvas),
        "canvas_mm": sorted(own_canvas),
        "ranks": ranks,
    }


def _all_round(gallery: matching.Gallery, first: int) -> NDArray[np.float64]:
    """Distances (P, N) of the bones from number ``first`` on as CTs, to those on the same canvas.

    As `boneprint.index.reverse`: root mean square of how far each enrolled view is from the probe's nearest.
    """
    distance = np.full((gallery.bones - first, gallery.bones), np.inf)
    for numbers, vectors in gallery.views.values():
        for at in torch.nonzero(numbers >= first)[:, 0].tolist():
            likest = (vectors @ vectors[at].T).amax(dim=2)
            distance[int(numbers[at]) - first, numbers.numpy()] = (2 - 2 * likest).clamp(min=0).mean(1).sqrt().cpu()
    return distance


def table(found: dict[str, object]) -> str:
    """The outcome for people."""
    lines = [
        f"skull phantom among {found['others']} others, {found['others_on_its_canvas']} of them on its canvas; "
        "rank of each other reconstruction"
    ]
    for kind, probes in found["ranks"].items():  # type: ignore[attr-defined]
        for probe, ranks in probes.items():
            shown = ", ".join(f"{other} {rank}" for other, rank in ranks.items())
            lines.append(f"  {kind:<8} {probe:<22} {shown}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
