"""A simulated bone seen twice: enrolled from a first scan, X-rayed after a second one.

Genuine pairs that are renderings of one CT flatter. Here the second scan is another visit to another scanner, in
another position, with other flesh, the bone a little remodelled, and its radiographs are taken in cone beam through
everything in it. Calibration uses such pairs, and so do the benchmarks.

Scans are coarser than usual ones unless asked otherwise (`Scanning.usual`): cubic millimetres of no more than the
simulation's own finest cells (2 mm in a femur), where a canvas shows 2.9 mm; and the flesh of the first scan, which
isolation takes away again, is thin.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from boneprint import bone, drr
from boneprint.nouns import Radiograph, Volume, canvas_of_height
from boneprint.simulate import HEALTHY, Body, Condition, Scanner
from boneprint.superimpose import Solid

if TYPE_CHECKING:
    from boneprint.embed import Embedder

Arrays = Mapping[str, NDArray[np.generic]]

SIDES = {"AP": 0.0, "ML": 90.0}
SESSIONS = (2, 3)  # visits after the first, each with a radiograph of every side

# The conditions of issue 4: within so many degrees of the side about the long axis, and in the plane; tube voltages.
AXIS_DEG, PLANE_DEG, KVP = 22.0, 15.0, (50.0, 120.0)
TILT_DEG = 2.5  # sd, out of the plane, about either axis
FILTER_MM_AL = (2.5, 4.0)
SOURCE_DETECTOR_MM = (1000.0, 1500.0)
BEHIND_MM = (20.0, 100.0)  # from the patient to the detector
CONTENT = (
    "soft tissue, 50-120 kVp, cone beam, 5,000 to 150,000 quanta per mm2 behind the part, focal blur, scatter, quantum "
    "noise"
)

_THIN_FLESH_MM = 12.0
_BODY_HU = -300.0  # as in boneprint.views: the limb with its skin
_VIEWS_KEY, _PROBES_KEY = 17, 18  # spawn keys of scanners and poses, beside those of boneprint.simulate.atlas


@dataclass(frozen=True)
class Scanning:
    """How a body is scanned.

    Parameters
    ----------
    usual : voxels of 0.5 to 2 mm and flesh of any thickness, as `Scanner.drawn` has them; some 20 times slower
    device : where scans are computed
    """

    usual: bool = False
    device: str = "cpu"

    def scanner(self, rng: np.random.Generator, body: Body, condition: Condition, *, isolated: bool) -> Scanner:
        """Another scanner for every visit; thin flesh where it will be taken away."""
        drawn = Scanner.drawn(rng, body.species)
        if self.usual:
            return drawn
        left = 1 - condition.missing_below - condition.missing_above
        voxel = body.finest_mm * float(np.cbrt(left))
        pixel, slices = voxel * float(rng.uniform(0.8, 1.0)), voxel * float(rng.uniform(1.0, 1.4))
        return replace(
            drawn,
            spacing_mm=(pixel, pixel, slices),
            blur_mm=max(drawn.blur_mm, 0.35 * voxel),  # less would alias
            soft_tissue_mm=min(drawn.soft_tissue_mm, _THIN_FLESH_MM) if isolated else drawn.soft_tissue_mm,
        )


DEFAULT = Scanning()


def views(body: Body, scanning: Scanning = DEFAULT, condition: Condition = HEALTHY) -> Arrays:
    """The first visit, as it is enrolled.

    Returns
    -------
    "pixels" (18, h, w) and, of what is not long, "tilted" (36, h2, w) float16: a `drr.HalfTurn`; "spacing_mm";
    "canvas_mm"
    """
    return views_of(_first_scan(body, scanning, condition))


def solid(body: Body, scanning: Scanning = DEFAULT, condition: Condition = HEALTHY) -> Arrays:
    """The first visit, as it is kept to be superimposed: "solid" (B,) uint8, an encoded `superimpose.Solid`."""
    return solid_of(_first_scan(body, scanning, condition))


def solid_of(volume: Volume) -> Arrays:
    """What `ingest` keeps of a CT, as `solid` returns it."""
    upright, _ = bone.stand_up(bone.isolate(volume))
    return {"solid": np.frombuffer(Solid.of(upright).encoded(), dtype=np.uint8)}


def _first_scan(body: Body, scanning: Scanning, condition: Condition) -> Volume:
    rng = np.random.default_rng(np.random.SeedSequence(body.entropy, spawn_key=(_VIEWS_KEY,)))
    scanner = scanning.scanner(rng, body, condition, isolated=True)
    volume, _ = body.scan(scanner, 1, condition=condition, device=scanning.device)
    return volume


def views_of(volume: Volume) -> Arrays:
    """What `ingest` makes of a CT, as `views` returns it."""
    upright, pose = bone.stand_up(bone.isolate(volume))
    step = float(upright.spacing_mm[0])
    half = drr.HalfTurn.of(drr.bone_mu_per_mm(upright.hu, drr.ENROLMENT_ENERGY), step, long=pose.long)
    return {
        "pixels": half.level.astype(np.float16),
        **({} if half.tilted is None else {"tilted": half.tilted.astype(np.float16)}),
        "spacing_mm": np.array(step),
        "canvas_mm": np.array(drr.canvas_of(upright, long=pose.long).height_mm),
    }


def enrolled(arrays: Arrays, embedder: "Embedder") -> NDArray[np.float32]:
    """Fingerprints of what `views` returned, as `ingest` enrols them: (V, D), in their own canvas."""
    canvas, spacing_mm = canvas_of_height(float(arrays["canvas_mm"])), float(arrays["spacing_mm"])
    views = (torch.from_numpy(some) for some in all_round(arrays))
    return np.concatenate([embedder.embed_tensors(some, spacing_mm, canvas).cpu().numpy() for some in views])


def all_round(arrays: Arrays) -> tuple[NDArray[np.float32], ...]:
    """What `views` returned, all the way round: those of each size, (V, h, w)."""
    level, *tilted = (arrays[name].astype(np.float32) for name in ("pixels", "tilted") if name in arrays)
    return drr.HalfTurn(level, tilted[0] if tilted else None).all_round()


def probes(
    body: Body,
    scanning: Scanning = DEFAULT,
    condition: Condition = HEALTHY,
    *,
    session: int = 2,
    marked: bool = False,
) -> Arrays:
    """A later visit, X-rayed once from each of `SIDES` in a pose and exposure of its own.

    Parameters
    ----------
    marked : also say where in the picture the bone is

    Returns
    -------
    for each side "SIDE" (h, w) float16 grey values, "SIDE_mm", and "SIDE_drawn": degrees off that side about the long
    axis, degrees in the plane, kVp; if asked for, "SIDE_mark" (h, w) bool, whether a pixel shows the bone
    """
    rng = np.random.default_rng(
        np.random.SeedSequence(body.entropy, spawn_key=(_PROBES_KEY, *([session] if session > 2 else [])))
    )
    scanner = scanning.scanner(rng, body, condition, isolated=False)
    volume, placed = body.scan(scanner, session, condition=condition, device=scanning.device)
    alone = None
    if marked:
        without = replace(condition, neighbours=False)
        alone, _ = body.scan(scanner, session, condition=without, dry=True, device=scanning.device)
    axes = placed[:3, :3].T.copy()
    if np.linalg.det(axes) < 0:  # a left bone is a mirrored right one
        axes[0] *= -1
    return probes_of(volume, axes, rng, alone)


def probes_of(
    volume: Volume, axes: NDArray[np.float64], rng: np.random.Generator, alone: Volume | None = None
) -> Arrays:
    """X-ray a scan, as `probes` returns it; the rows of ``axes`` are where left, back and head are in it.

    Parameters
    ----------
    alone : the same scan without flesh and what lies beside the bone, to mark it
    """
    found: dict[str, NDArray[np.generic]] = {}
    for side, side_deg in SIDES.items():
        pose = bone.Pose(axes, long=True).turned(*(float(deg) for deg in rng.normal(0, TILT_DEG, 2)))
        off, plane = float(rng.uniform(-AXIS_DEG, AXIS_DEG)), float(rng.uniform(-PLANE_DEG, PLANE_DEG))
        kvp = float(rng.uniform(*KVP))
        specimen, content_mm = pose.placed(volume), bone.extremes_mm(volume, _BODY_HU) @ pose.axes.T
        distance = float(rng.uniform(*SOURCE_DETECTOR_MM))
        behind = _reach_mm(specimen, content_mm) + float(rng.uniform(*BEHIND_MM))
        stand = drr.aimed(
            specimen,
            content_mm,
            angle_deg=side_deg + off,
            in_plane_deg=plane,
            source_detector_mm=distance,
            source_isocentre_mm=distance - behind,
        )
        taken = drr.natural_radiograph(
            specimen,
            *stand,
            seed=int(rng.integers(2**31)),
            source=side,
            beam=drr.Beam.spectrum(drr.KVp(kvp), float(rng.uniform(*FILTER_MM_AL))),
        )
        found[side] = taken.pixels.astype(np.float16)
        if alone is not None:
            found[f"{side}_mark"] = drr.silhouette(pose.placed(alone), *stand)
        found[f"{side}_mm"] = np.array(taken.known_spacing_mm())
        found[f"{side}_drawn"] = np.array([off, plane, kvp])
    return found


def _reach_mm(specimen: Volume, content_mm: NDArray[np.float64]) -> float:
    """How far a volume can reach behind the middle of its content, however it is turned about z."""
    z, y, x = specimen.hu.shape
    corners = np.array([[i, j, k] for i in (-1, x) for j in (-1, y) for k in (-1, z)], dtype=np.float64)
    middle = (content_mm.min(axis=0) + content_mm.max(axis=0)) / 2
    return float(np.linalg.norm((specimen.to_patient(corners) - middle)[:, :2], axis=1).max())


@dataclass(frozen=True)
class Visited:
    """A bone that is rendered into a file: its views, unless it is a stranger's, and the radiographs of some visits.

    ``sessions`` are visits at which it is as it was at the first. ``changes`` are others, with what has happened to it
    or come into the picture by then; if ``marked`` it is said where in the radiographs the bone is.
    """

    body: Body
    condition: Condition = HEALTHY
    sessions: tuple[int, ...] = SESSIONS
    stranger: bool = False
    changes: Mapping[int, Condition] = field(default_factory=dict)
    marked: bool = False

    def render(self) -> Arrays:
        """What `views` returns, and of each session what `probes` returns, as "SESSION-SIDE" and so on."""
        arrays = {} if self.stranger else dict(views(self.body, condition=self.condition))
        for session, condition in (dict.fromkeys(self.sessions, self.condition) | dict(self.changes)).items():
            taken = probes(self.body, condition=condition, session=session, marked=self.marked)
            arrays.update({f"{session}-{name}": array for name, array in taken.items()})
        return arrays


def build(wanted: Mapping[Path, Visited], workers: int = 2, report: Callable[[int, int], None] | None = None) -> None:
    """Render bones, one file each, or go on where an earlier run stopped.

    Parameters
    ----------
    report : called with (bones done, bones in all)
    """
    waiting = [(path, visited) for path, visited in wanted.items() if not path.exists()]
    for folder in {path.parent for path in wanted}:
        folder.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for done, _ in enumerate(pool.map(_write, *zip(*waiting)) if waiting else (), 1):
            if report:
                report(len(wanted) - len(waiting) + done, len(wanted))


def _write(path: Path, visited: Visited) -> None:
    torch.set_num_threads(1)
    written = path.with_suffix(".tmp.npz")
    np.savez(written, **visited.render())  # type: ignore[arg-type]
    written.replace(path)


def load(path: Path) -> dict[str, NDArray[np.generic]]:
    """What `build` wrote."""
    with np.load(path, allow_pickle=False) as stored:
        return dict(stored)


def radiograph(arrays: Arrays, session: int, side: str) -> Radiograph:
    """One that `build` wrote."""
    name = f"{session}-{side}"
    return Radiograph(arrays[name].astype(np.float32), float(arrays[f"{name}_mm"]), None, name)
