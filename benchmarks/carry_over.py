"""Does it carry over? Real surfaces that nobody trained on, each among simulated bones of its kind.

    python benchmarks/carry_over.py

Every real surface is filled with so many simulated interiors (`real_bodies`), each scanned twice: enrolled from the
first scan, X-rayed from the second, as in `identify`. Each stands alone among the simulated bones, or with the other
side of the same person, filled alike: then it is told which of the two came first. Upper ends of femora stand among
upper ends of like length. Every rank is in the JSON, by fingerprint, and with ``--superimpose N`` after the first N are
laid over the radiograph.
"""

import argparse
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import matching
import numpy as np
import real_bodies
import rendered_bones
import report
import superimposing
from identify import CACHE
from numpy.typing import NDArray
from real_bodies import Surface
from rendered_bones import Make

from boneprint import two_visits
from boneprint.embed import Embedder, load_embedder
from boneprint.embed.card import SHIPPED
from boneprint.evidence.identification import rate
from boneprint.simulate import HEALTHY, Condition, individual
from boneprint.two_visits import Arrays, Scanning

# What is left of the simulated upper ends, as the real ones: 158 to 175 mm of a femur of 435 mm.
_FRAGMENT_SHARE = (0.35, 0.41)


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, render, search, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=real_bodies.DATA, help="the folder that holds meshes/")
    parser.add_argument("--surfaces", nargs="+", default=[""], help="only those whose name begins so, e.g. femur")
    parser.add_argument("--interiors", type=int, default=20, help="of every surface, each with poses of its own")
    parser.add_argument("--among", type=int, default=500, help="simulated bones of the kind")
    parser.add_argument("--seed", type=int, default=31, help="of the cohort and of the interiors")
    parser.add_argument("--voxels", choices=("coarse", "usual"), default="coarse")
    parser.add_argument("--cache", type=Path, default=CACHE, help="where rendered bones are kept; shared with identify")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--device", default="cpu", help="where scans are computed, e.g. cuda")
    parser.add_argument("--superimpose", type=int, default=0, metavar="N", help="the first N bones of every search")
    parser.add_argument("--render-only", action="store_true")
    parser.add_argument("--score", action="store_true", help="with what has been rendered so far")
    parser.add_argument("--weights", type=Path, default=SHIPPED)
    parser.add_argument("--name", default="carry-over", help="of the JSON")
    parser.add_argument("--results", type=Path, default=report.RESULTS, help="where the JSON goes")
    given = parser.parse_args(arguments)

    surfaces = [s for s in real_bodies.surfaces(given.data) if s.name.startswith(tuple(given.surfaces))]
    if not surfaces:
        print(f"skipped: no real surfaces in {given.data / 'meshes'}; say where with --data")
        return
    scanning = Scanning(given.voxels == "usual", given.device)
    folder = rendered_bones.home(given.cache, scanning)
    kinds = {surface.group: surface for surface in surfaces}
    if not given.score:
        for group, surface in kinds.items():
            strangers = {}
            for index in range(given.among):
                strangers |= stranger_tasks(folder, surface, index, given, scanning)
            rendered_bones.build(strangers, given.workers, what=group)
        signed = {real_bodies.distances_path(folder, s): partial(real_bodies.distances, s) for s in surfaces}
        rendered_bones.build(signed, given.workers, what="signed distances")
        tasks = {}
        for surface in surfaces:
            for interior in range(given.interiors):
                tasks |= surface_tasks(folder, surface, interior, given, scanning)
        rendered_bones.build(tasks, given.workers, what="real surfaces")
    if given.render_only:
        return

    embedder = load_embedder(given.weights)
    print(report.heading())
    found: list[dict[str, object]] = []
    groups = {}
    for group in kinds:
        of_group = search(folder, [s for s in surfaces if s.group == group], given, embedder)
        if of_group:
            print(table(group, of_group), flush=True)
            groups[group] = {way: summary(of_group, way) for way in ways(of_group)}
            found += of_group
    report.write(
        given.name,
        {
            "question": "are real shapes found among simulated ones?",
            "embedder": embedder.id,
            "seed": given.seed,
            "voxels": given.voxels,
            "among": given.among,
            "interiors": given.interiors,
            "superimposed": given.superimpose,
            "probes": two_visits.CONTENT,
            "interval": "95 %, bootstrap over surfaces; 3 / surfaces where nothing went wrong",
            "groups": groups,
            "surfaces": found,
        },
        given.results,
    )


def stranger_name(surface: Surface, index: int, seed: int) -> str:
    """Simulated bones of a kind are shared with `identify`; their upper ends are not."""
    return f"human-{surface.group.replace(' ', '-')}-{seed}/{index:05d}"


def stranger_tasks(
    folder: Path, surface: Surface, index: int, given: argparse.Namespace, scanning: Scanning
) -> dict[Path, Make]:
    seed = given.seed
    condition = HEALTHY
    if surface.fragment:
        rng = np.random.default_rng((seed, index))
        condition = Condition(missing_below=1 - float(rng.uniform(*_FRAGMENT_SHARE)), seed=index)
    body = individual(seed, index, bone=surface.kind)
    name = stranger_name(surface, index, seed)
    solid = given.superimpose > 0
    return rendered_bones.tasks(folder, name, body, scanning, condition, probed=False, solid=solid)


def real_name(surface: Surface, interior: int, seed: int) -> str:
    return f"real-{surface.name.replace(' ', '-')}-{seed}/{interior:05d}"


def surface_tasks(
    folder: Path, surface: Surface, interior: int, given: argparse.Namespace, scanning: Scanning
) -> dict[Path, Make]:
    seed = given.seed
    name = real_name(surface, interior, seed)
    made = {rendered_bones.views_path: two_visits.views, rendered_bones.probes_path: two_visits.probes}
    if given.superimpose:
        made[rendered_bones.solid_path] = two_visits.solid
    return {
        path(folder, name): partial(rendered, make, folder, surface, interior, seed, scanning)
        for path, make in made.items()
    }


def rendered(make: Make, folder: Path, surface: Surface, interior: int, seed: int, scanning: Scanning) -> Arrays:
    """A worker reads the signed distance itself: it is larger than what is rendered of it."""
    body, condition = real_bodies.body(surface, interior, seed, folder)
    return make(body, scanning, condition)  # type: ignore[call-arg]


def search(
    folder: Path, surfaces: Sequence[Surface], given: argparse.Namespace, embedder: Embedder
) -> list[dict[str, object]]:
    """Every probe of the surfaces of one group, among the simulated bones and the other side of the same person."""
    names = [stranger_name(surfaces[0], index, given.seed) for index in range(given.among)]

    def kept(name: str) -> bool:
        return matching.is_kept(rendered_bones.views_path(folder, name), embedder)

    strangers = [name for name in names if kept(name)]
    wanted = [(s, i, real_name(s, i, given.seed)) for s in surfaces for i in range(given.interiors)]
    real = [(s, i) for s, i, name in wanted if kept(name) and rendered_bones.probes_path(folder, name).exists()]
    if not strangers or not real:
        print(
            f"{surfaces[0].group}: skipped, {len(strangers)} simulated and {len(real)} real ones rendered in {folder}"
        )
        return []
    reals = [real_name(surface, interior, given.seed) for surface, interior in real]
    enrolled = [*strangers, *reals]
    paths = [rendered_bones.views_path(folder, name) for name in enrolled]
    gallery = matching.enrolled(paths, embedder, [surfaces[0].kind] * len(paths))
    probe_paths = [rendered_bones.probes_path(folder, name) for name in reals]
    probes = matching.probed(probe_paths, list(gallery.views), embedder)
    # Of the real ones a gallery holds the bone itself and the other side of its person, filled alike.
    alike = np.array([[s.person == t.person and i == j and (s, i) != (t, j) for t, j in real] for s, i in real])
    there = np.concatenate([np.ones((len(real), len(strangers)), bool), alike | np.eye(len(real), dtype=bool)], axis=1)
    distance = {side: np.where(there, each, np.inf) for side, each in matching.distances(gallery, probes).items()}
    by_way = {"fingerprint": distance}
    if given.superimpose:
        by_way["superimposed"], _ = superimposing.superimposed(
            [rendered_bones.solid_path(folder, name) for name in enrolled],
            probe_paths,
            distance,
            superimposing.directions(gallery, probes),
            given.superimpose,
            given.workers,
        )

    found = []
    for row, (surface, interior) in enumerate(real):
        others = np.flatnonzero(alike[row])
        each: dict[str, object] = {"surface": surface.name, "group": surface.group, "interior": interior}
        for way, sides in by_way.items():
            each[way] = {side: _ranked(of_side[row], len(strangers), row, others) for side, of_side in sides.items()}
        found.append({**each, "among": len(strangers)})
    return found


def _ranked(distance: NDArray[np.float64], strangers: int, row: int, others: NDArray[np.int64]) -> dict[str, object]:
    own = distance[strangers + row]
    return {
        # A tie is no success.
        "rank": int(1 + (distance[:strangers] <= own).sum()) if np.isfinite(own) else None,
        "distance": float(own),
        "nearest_stranger": float(distance[:strangers].min()),
        "other_side": float(distance[strangers + others[0]]) if len(others) else None,
    }


def ways(found: Sequence[dict[str, object]]) -> list[str]:
    """By what was searched."""
    return [way for way in ("fingerprint", "superimposed") if way in found[0]]


def summary(found: Sequence[dict[str, object]], way: str) -> dict[str, object]:
    """Share of probes at rank 1 and within the first three, and whose own side came before the other."""
    names = [each["surface"] for each in found]
    numbers = np.unique(names, return_inverse=True)[1]
    result: dict[str, object] = {}
    for side in found[0][way]:
        of_side = [each[way][side] for each in found]
        ranks = np.array([each["rank"] or np.inf for each in of_side])
        sided = [each for each in of_side if each["other_side"] is not None]
        result[side] = {
            "rank_1": asdict(rate(ranks <= 1, numbers)),
            "rank_3": asdict(rate(ranks <= 3, numbers)),
            "worst_rank": float(ranks.max()),
            "own_side_first": float(np.mean([s["distance"] < s["other_side"] for s in sided])) if sided else None,
        }
    return result


def table(group: str, found: Sequence[dict[str, object]]) -> str:
    """Every rank, for people."""
    lines = [f"{group}: {len(found)} fillings, each among {found[0]['among']} simulated bones"]
    for way in ways(found):
        ranks: dict[object, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
        for each in found:
            for side, of_side in each[way].items():
                ranks[each["surface"]][side].append(of_side["rank"])
        for name, sides in ranks.items():
            for side, those in sides.items():
                said = " ".join("-" if rank is None else str(rank) for rank in those)
                lines.append(f"  {name:<24} {side:<8} {way}: ranks {said}")
        for side, each in summary(found, way).items():
            low, high = each["rank_1"]["interval"]
            first = each["own_side_first"]
            lines.append(
                f"  {'all':<24} {side:<8} {way}: rank 1 {each['rank_1']['value']:.1%} ({low:.0%}-{high:.0%}), "
                f"rank 3 {each['rank_3']['value']:.1%}"
                + ("" if first is None else f", own side before the other's {first:.1%}")
            )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
