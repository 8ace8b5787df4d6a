"""What harm since the CT costs: bones of a cohort, enrolled healthy and whole, and probed after something happened.

    python benchmarks/harm.py
    python benchmarks/harm.py --bones hip=20+230 --name harm-hip
    python benchmarks/harm.py --bones vertebra=100+400 --only none neighbours --name between-vertebra

The bones, their views and their poses are those of `identify`, whose cache it shares: those that are probed are the
first of the gallery. "none" is the healthy bone, probed by the same radiographs as there.
"""

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import matching
import rendered_bones
import report
from identify import CACHE, Wanted, outcome

from boneprint import two_visits
from boneprint.embed import load_embedder
from boneprint.embed.card import SHIPPED
from boneprint.simulate import HEALTHY, Condition, individual
from boneprint.two_visits import Scanning

_SEED = 5  # of where and how
HARMS = {
    "none": HEALTHY,
    "lower-end": Condition(missing_below=0.15, seed=_SEED),
    "upper-end": Condition(missing_above=0.15, seed=_SEED),
    "fractured": Condition(fractured=True, seed=_SEED),
    "nail": Condition(implant="nail", seed=_SEED),
    "stem": Condition(implant="stem", seed=_SEED),
    "plate": Condition(implant="plate", seed=_SEED),
    "screws": Condition(implant="screws", seed=_SEED),
    "eroded": Condition(erosion_mm=2.5, seed=_SEED),
    "neighbours": Condition(neighbours=True, seed=_SEED),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, render, search, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bones", type=Wanted.parse, default=Wanted("femur", 20, 230), metavar="KIND=N+M")
    parser.add_argument("--only", nargs="+", choices=HARMS, default=list(HARMS), help="some of them alone")
    parser.add_argument("--seed", type=int, default=31, help="of the cohort; poses and exposures follow from it")
    parser.add_argument("--cache", type=Path, default=CACHE, help="where rendered bones are kept; shared with identify")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--weights", type=Path, default=SHIPPED)
    parser.add_argument("--name", default="harm", help="of the JSON")
    parser.add_argument("--results", type=Path, default=report.RESULTS, help="where the JSON goes")
    given = parser.parse_args(arguments)

    wanted, scanning = given.bones, Scanning()
    folder = rendered_bones.home(given.cache, scanning)
    tasks = wanted.tasks(folder, scanning, given.seed, "human")
    fitting = (None, *individual(given.seed, 0, bone=wanted.kind).implants)
    happened = {harm: HARMS[harm] for harm in given.only if HARMS[harm].implant in fitting}
    probes: dict[str, list[Path]] = {harm: [] for harm in happened}
    for index, name in enumerate(wanted.names(given.seed, "human")[: wanted.probed]):
        body = individual(given.seed, index, bone=wanted.kind)
        for harm, condition in happened.items():
            of = name if condition == HEALTHY else name.replace("/", f"-{harm}/")
            probes[harm].append(rendered_bones.probes_path(folder, of))
            tasks.setdefault(probes[harm][-1], partial(two_visits.probes, body, scanning, condition))
    rendered_bones.build(tasks, given.workers, what=wanted.part)

    embedder = load_embedder(given.weights)
    names = wanted.names(given.seed, "human")
    views = [rendered_bones.views_path(folder, name) for name in names]
    gallery = matching.enrolled(views, embedder, [wanted.part] * len(names))
    harms = {}
    print(report.heading())
    for harm, paths in probes.items():
        found = matching.distances(gallery, matching.probed(paths, list(gallery.views), embedder))
        harms[harm] = {side: outcome(each, None) for side, each in found.items()}
        shares = ", ".join(f"{side} {of['ranks']['1']['share']:.0%}" for side, of in harms[harm].items())
        print(f"{harm}: rank 1 {shares}", flush=True)
    about = {"bones": str(wanted), "seed": given.seed, "embedder": embedder.id, "harms": harms}
    report.write(given.name, about, given.results)


if __name__ == "__main__":
    main()
