"""Which bone of a gallery is this? Simulated people that nobody trained or calibrated on, by kind of bone.

    python benchmarks/identify.py                              # 100 femora: `make bench`
    python benchmarks/identify.py femur=1000+9000 tibia=500 humerus=500 radius=500 vertebra=500 hip=500 lump=500

[END-]KIND=PROBED[+OTHERS][@LAID]: people whose bone is enrolled from a first scan and probed from a second one, others
who are only enrolled, and how many of the first bones found are laid over each probe (`search --superimpose`). With
``upper-`` or ``lower-`` that end of a long bone is all that is left: lower ends of radii were never trained on,
and neither were ulnae and heel bones (`boneprint.training_recipe.LEFT_OUT`).
``--render-only`` fills the cache, needs no weights and goes on where it was stopped; ``--score`` searches with what is
in the cache. ``--discard`` keeps of enrolled bones the fingerprints alone: views of 10,000 femora are 10 GB. Nothing is
tuned here: thresholds are the card's, or said to be found here.
"""

import argparse
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path

import matching
import numpy as np
import rendered_bones
import report
import superimposing
from numpy.typing import NDArray

from boneprint import two_visits
from boneprint.embed import Embedder, load_embedder
from boneprint.embed.card import SHIPPED
from boneprint.errors import BoneprintError
from boneprint.evidence import BIPLANE, ONE_PROBE, TWO_PROBES, Calibration, of_card
from boneprint.evidence.identification import (
    Searches,
    cumulative_match,
    false_negative_identification,
    missed_at_false_positives,
    rate,
)
from boneprint.evidence.metrics import false_match_rate, likelihood_ratio_cost, threshold_at
from boneprint.simulate import BONES, HEALTHY, Condition, individual
from boneprint.two_visits import Scanning

# What is left of a bone of which only an end is: short enough to be no long bone any more.
END_SHARE = (0.18, 0.25)
RANKS = (1, 2, 5, 10)
FALSE_MATCHES = (1e-3, 1e-4)
FALSE_POSITIVES = 0.01
CACHE = Path(".cache/bones")
_AT_ONCE = 500  # files that are rendered before their views are embedded and discarded
# Edges of the strata, of the sizes of what was drawn: degrees about the axis, degrees in the plane, kVp.
STRATA = {"axis_deg": (0, 7, 15, 22), "plane_deg": (0, 5, 10, 15), "kvp": (50, 75, 95, 120)}


@dataclass(frozen=True)
class Wanted:
    """So many people of a kind of bone: the first are probed, the others only enrolled; ``laid`` over each probe.

    ``end`` is what is left of the bone: "upper", "lower", or all of it.
    """

    kind: str
    probed: int
    others: int
    laid: int = 0
    end: str = ""

    def __str__(self) -> str:
        others, laid = f"+{self.others}" if self.others else "", f"@{self.laid}" if self.laid else ""
        return f"{self.part}={self.probed}{others}{laid}"

    @property
    def part(self) -> str:
        """The kind of bone, or which end of it."""
        return f"{self.end}-{self.kind}" if self.end else self.kind

    def condition(self, seed: int, index: int) -> Condition:
        """What is left of a person's bone."""
        if not self.end:
            return HEALTHY
        gone = 1 - float(np.random.default_rng((seed, index)).uniform(*END_SHARE))
        return replace(HEALTHY, **{"missing_below" if self.end == "upper" else "missing_above": gone}, seed=index)

    @classmethod
    def parse(cls, text: str) -> "Wanted":
        found = re.fullmatch(r"(?:(upper|lower)-)?(\w+)=(\d+)(?:\+(\d+))?(?:@(\d+))?", text)
        if found is None or found[2] not in BONES or int(found[3]) < 2:
            raise argparse.ArgumentTypeError(
                f"'{text}', expected [END-]KIND=PROBED[+OTHERS][@LAID], at least 2 probed, END upper or lower, KIND "
                f"one of {', '.join(BONES)}"
            )
        return cls(found[2], int(found[3]), int(found[4] or 0), int(found[5] or 0), found[1] or "")

    def names(self, seed: int, species: str) -> list[str]:
        """What the files of every bone are called."""
        return [f"{species}-{self.part}-{seed}/{index:05d}" for index in range(self.probed + self.others)]

    def tasks(self, folder: Path, scanning: Scanning, seed: int, species: str) -> dict[Path, rendered_bones.Make]:
        """Everything to be rendered; those who are probed first."""
        found: dict[Path, rendered_bones.Make] = {}
        for index, name in enumerate(self.names(seed, species)):
            body = individual(seed, index, bone=self.kind, species=species)
            condition, probed = self.condition(seed, index), index < self.probed
            found |= rendered_bones.tasks(folder, name, body, scanning, condition, probed=probed, solid=self.laid > 0)
        return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, render, score, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "wanted", nargs="*", type=Wanted.parse, default=[Wanted("femur", 100, 0)], metavar="[END-]KIND=N[+M][@L]"
    )
    parser.add_argument("--species", default="human")
    parser.add_argument("--seed", type=int, default=31, help="of the cohort; poses and exposures follow from it")
    parser.add_argument("--voxels", choices=("coarse", "usual"), default="coarse", help="usual: some 20 times slower")
    parser.add_argument("--cache", type=Path, default=CACHE, help="where rendered bones are kept")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--device", default="cpu", help="where scans are computed, e.g. cuda")
    parser.add_argument("--render-only", action="store_true")
    parser.add_argument("--score", action="store_true", help="with what has been rendered so far")
    parser.add_argument("--discard", action="store_true", help="views as soon as they are embedded")
    parser.add_argument("--weights", type=Path, default=SHIPPED)
    parser.add_argument("--name", default="identify", help="of the JSON")
    parser.add_argument("--results", type=Path, default=report.RESULTS, help="where the JSON goes")
    given = parser.parse_args(arguments)

    scanning = Scanning(given.voxels == "usual", given.device)
    folder = rendered_bones.home(given.cache, scanning)
    if not given.score:
        for wanted in given.wanted:
            tasks = wanted.tasks(folder, scanning, given.seed, given.species)
            if given.discard:
                build_and_discard(tasks, given.workers, load_embedder(given.weights), wanted.part)
            else:
                rendered_bones.build(tasks, given.workers, what=wanted.part)
    if not given.render_only:
        embedder = load_embedder(given.weights)
        print(report.heading())
        kinds = {}
        for wanted in given.wanted:
            kinds[wanted.part] = score(wanted, folder, embedder, given)
            print(table(wanted.part, kinds[wanted.part]), flush=True)
        report.write(given.name, {**about(given, embedder), "kinds": kinds}, given.results)


def build_and_discard(tasks: Mapping[Path, rendered_bones.Make], workers: int, embedder: Embedder, what: str) -> None:
    """Render some bones after the other, embed their views, and keep the fingerprints instead of these."""
    waiting = [(path, make) for path, make in tasks.items() if not matching.is_embedded(path, embedder)]
    for first in range(0, len(waiting), _AT_ONCE):
        some = dict(waiting[first : first + _AT_ONCE])
        rendered_bones.build(some, workers, what=f"{what} from {first} of {len(waiting)}")
        views = [path for path in some if rendered_bones.is_views(path)]
        matching.embed(views, embedder)
        for path in views:
            path.unlink()


def about(given: argparse.Namespace, embedder: Embedder) -> dict[str, object]:
    """What was done, for whoever reads the JSON."""
    return {
        "question": "closed-set and open-set identification of simulated bones",
        "bones": " ".join(map(str, given.wanted)),
        "embedder": embedder.id,
        "species": given.species,
        "seed": given.seed,
        "voxels": given.voxels,
        "probes": {
            "axis_deg": two_visits.AXIS_DEG,
            "plane_deg": two_visits.PLANE_DEG,
            "tilt_sd_deg": two_visits.TILT_DEG,
            "content": two_visits.CONTENT,
            "scan": "a second one: another scanner, position and flesh, the bone remodelled",
        },
        "sets": "train, calibration and test people come from disjoint seed streams (boneprint.simulate.individual)",
        "interval": "95 %, bootstrap over bones; 3 / bones where nothing went wrong",
        "fnir": "rank 1; probes that are not in the gallery: every probe once more, its own bone left out",
    }


def score(wanted: Wanted, folder: Path, embedder: Embedder, given: argparse.Namespace) -> dict[str, object]:
    """Search with every probe among the probed bones, and among all."""
    seed, species = given.seed, given.species
    paths = {name: rendered_bones.views_path(folder, name) for name in wanted.names(seed, species)}
    there = [name for name, path in paths.items() if matching.is_kept(path, embedder)]
    candidates = set(wanted.names(seed, species)[: wanted.probed])
    probed = [n for n in there if n in candidates and rendered_bones.probes_path(folder, n).exists()]
    if len(probed) < 2:
        raise BoneprintError(f"{folder}: {len(probed)} probed {wanted.part} bones in it; render at least two first.")
    # Those that are probed come first, whatever a run that was stopped has left out.
    names = probed + sorted(set(there) - set(probed))
    if len(names) < wanted.probed + wanted.others:
        print(f"{wanted.part}: only {len(names)} of {wanted.probed + wanted.others} bones have been rendered")
    gallery = matching.enrolled([paths[name] for name in names], embedder, [wanted.part] * len(names))
    probes = matching.probed([rendered_bones.probes_path(folder, n) for n in probed], list(gallery.views), embedder)
    found = matching.distances(gallery, probes)
    # Those that are probed, everybody, and the powers of ten between.
    sizes = sorted(
        {len(probed), len(names), *(10**power for power in range(3, 7) if len(probed) < 10**power < len(names))}
    )
    calibrations = of_card(embedder.card)

    def calibration(side: str) -> Calibration | None:
        if species != "human" or side == matching.JOINED:
            return None
        comparison = {matching.BOTH: TWO_PROBES, matching.BIPLANE: BIPLANE}.get(side, ONE_PROBE)
        return calibrations.get(comparison, {}).get(wanted.part)

    outcomes: dict[str, object] = {
        "probed": len(probed),
        "failed_to_enrol": len(gallery.missing),
        "failed_to_acquire": len(probes.missing),
        "views_each": max(views.shape[1] for _, views in gallery.views.values()),
        "galleries": {
            str(size): {side: outcome(each[:, :size], calibration(side)) for side, each in found.items()}
            for size in sizes
        },
        "strata": {side: strata(found[side], probes.drawn[:, at]) for at, side in enumerate(two_visits.SIDES)},
    }
    if wanted.laid:
        laid, seconds = superimposing.superimposed(
            [rendered_bones.solid_path(folder, name) for name in names],
            [rendered_bones.probes_path(folder, name) for name in probed],
            found,
            superimposing.directions(gallery, probes),
            wanted.laid,
            given.workers,
        )
        outcomes["superimposed"] = {
            "first": wanted.laid,
            "cpu_seconds_each": seconds,
            "galleries": {str(len(names)): {side: outcome(each, None) for side, each in laid.items()}},
            "strata": {side: strata(laid[side], probes.drawn[:, at]) for at, side in enumerate(two_visits.SIDES)},
        }
    return outcomes


def outcome(distance: NDArray[np.float64], calibration: Calibration | None) -> dict[str, object]:
    """The measures of ISO/IEC 19795-1 for P probes, the first P of the gallery's N bones: distances (P, N).

    ``calibration`` is that of their kind in the weights' card; None where the kind was not calibrated.
    """
    truth = np.arange(len(distance))
    searches = Searches(distance, truth)
    comparisons = searches.comparisons()
    curve = cumulative_match(searches, RANKS)
    at_rates = {}
    for wanted in FALSE_MATCHES:
        try:
            threshold = threshold_at(comparisons, wanted)
        except BoneprintError as error:
            at_rates[f"{wanted:g}"] = {"remark": str(error)}
            continue
        at_rates[f"{wanted:g}"] = {"threshold": threshold, "fnmr": asdict(rate(searches.mate > threshold, truth))}
    # Every probe is a stranger to the gallery without its own bone.
    left_out = distance.copy()
    left_out[truth, truth] = np.inf
    both = Searches(np.concatenate([distance, left_out]), np.concatenate([truth, distance.shape[1] + truth]))
    found: dict[str, object] = {
        "ranks": {str(r): {"share": each.value, "interval": each.interval} for r, each in zip(RANKS, curve)},
        "fnmr_at_fmr": at_rates,
        "fnir_at_fpir": {f"{FALSE_POSITIVES:g}": asdict(missed_at_false_positives(both, FALSE_POSITIVES, 1))},
        "median_distance": float(np.median(searches.mate)),
        "median_nearest_wrong": float(np.median(searches.nearest_other)),
    }
    if calibration is not None:
        threshold = calibration.threshold.value
        found["at_card_threshold"] = {
            "threshold": threshold,
            "fmr": false_match_rate(comparisons, threshold),
            "fnmr": asdict(rate(searches.mate > threshold, truth)),
            "fnir_rank_1": asdict(false_negative_identification(searches, 1, threshold)),
            "cllr": likelihood_ratio_cost(comparisons, calibration.log10_lr),
        }
    return found


def strata(distance: NDArray[np.float64], drawn: NDArray[np.float64]) -> dict[str, dict[str, object]]:
    """Rank 1 in the largest gallery by what was drawn, (P, 3)."""
    searches = Searches(distance, np.arange(len(distance)))
    found: dict[str, dict[str, object]] = {}
    for column, (name, edges) in zip(np.abs(drawn).T, STRATA.items()):
        found[name] = {}
        for low, high in pairwise(edges):
            chosen = (column >= low) & (column < high)
            of = rate(searches.rank[chosen] <= 1, searches.truth[chosen])
            found[name][f"{low}-{high}"] = of and asdict(of)
    return found


def table(kind: str, found: dict[str, object]) -> str:
    """The outcome for people."""
    lines = [
        f"{kind}, {found['views_each']} views each; failed to enrol {found['failed_to_enrol']}, "
        f"to acquire {found['failed_to_acquire']}",
        f"{'enrolled':>9} {'probe':<8}"
        + "".join(f"{'rank ' + str(r):>23}" for r in RANKS)
        + "".join(f"{f'FNMR at {fmr:g}':>15}" for fmr in FALSE_MATCHES)
        + f"{'FNIR at 1 %':>13}{'FMR, FNMR, Cllr of card':>30}",
    ]
    lines += _rows(found)
    laid = found.get("superimposed")
    if laid:
        lines.append(f"the first {laid['first']} superimposed, {laid['cpu_seconds_each']:.2f} CPU s each; by likeness:")
        lines += _rows(laid)
    return "\n".join(lines)


def _rows(found: dict[str, object]) -> list[str]:
    lines = []
    for size, sides in found["galleries"].items():
        for side, each in sides.items():
            cells = f"{int(size):>9,} {side:<8}"
            for r in RANKS:
                low, high = each["ranks"][str(r)]["interval"]
                cells += f"{each['ranks'][str(r)]['share']:>8.2%} ({low:.1%}-{high:.1%})".rjust(23)
            for fmr in FALSE_MATCHES:
                missed = each["fnmr_at_fmr"][f"{fmr:g}"].get("fnmr")
                cells += (f"{missed['value']:.2%}" if missed else "-").rjust(15)
            fnir = each["fnir_at_fpir"][f"{FALSE_POSITIVES:g}"]["missed"]
            cells += ("-" if fnir is None else f"{fnir:.2%}").rjust(13)
            card = each.get("at_card_threshold")
            said = f"{card['fmr']:.1e}, {card['fnmr']['value']:.2%}, {card['cllr']:.2f}" if card else "-"
            lines.append(cells + said.rjust(30))
    for side, groups in found["strata"].items():
        shown = (
            f"{name} " + ", ".join(f"{span}: {each['value']:.1%}" for span, each in spans.items() if each)
            for name, spans in groups.items()
        )
        lines.append(f"  {side} rank 1 by " + "; ".join(shown))
    return lines


if __name__ == "__main__":
    main()
