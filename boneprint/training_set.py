"""What is trained on: miniatures of simulated bodies, or of a user's own CTs, looked at anew in every step.

A body is scanned coarsely and dry once (twice, by two scanners, where the recipe says so) and kept on disk until
training ends; the folder can be deleted, it is made again from the seed. Every view of every step is another one:
another direction, distance and display, rendered on the device that trains.
"""

import hashlib
import json
import os
from collections.abc import Callable, Hashable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from boneprint import bone, drr
from boneprint._version import RENDERING
from boneprint.drr.ensemble import Ensemble, Looks, Miniature
from boneprint.drr.geometry import turned_axes
from boneprint.embed import weights
from boneprint.embed.augment import augment
from boneprint.embed.finder import Lie
from boneprint.embed.preprocess import canvas_pixels, framed
from boneprint.embed.training import Lesson, Schedule
from boneprint.errors import BoneprintError
from boneprint.nouns import AIR_HU, Canvas, Volume, canvas_for, canvas_of_height
from boneprint.simulate import HEALTHY, Body, Condition, Scanner
from boneprint.training_recipe import LONG, PIECE, Member, Recipe

# How many lessons are on each kind, whatever there is of it: what is hard to tell apart needs as many as what is easy.
_LESSONS = {
    "femur": 0.3,
    "tibia": 0.15,
    "humerus": 0.12,
    "radius": 0.08,
    "vertebra": 0.13,
    "hip": 0.13,
    "lump": 0.09,
    PIECE: 0.12,
}
# Of the lessons of a second course one kind only is shown: bones of another kind are easily told apart, and teach
# little.
_ONE_KIND = 0.75

_HARM = 0.05  # of second scans have each of the conditions of `Condition.drawn`
_SHARD = 32  # bodies in one file of the cache
_SEEN_HU = -500.0

# Pictures are larger than their canvas, by half a margin and by what a leaning limb takes.
_PICTURE = {True: (240, 144), False: (220, 220)}
# Voxels of a miniature, in pixels of its canvas.
_VOXEL = {True: 0.75, False: 0.9625}
# How far the bone leans towards the source or from it, sd in degrees: of a gallery's view, and of any other. What is
# not long is enrolled in several tilts (`drr.ENROLMENT_TILTS`), and one of them is near.
_TILTS_DEG = {True: (1.5, 3.5), False: (1.0, 2.5)}
_KEPT_BACK = 0.06  # of people and families examine, and are not trained on
_EXAMINATIONS = 12

# Miniatures of one bone, the height of their canvas in mm, and whether that is a tall one.
Shard = tuple[list[Miniature], float, bool]


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """Bones to be told apart, ready to be looked at.

    Parameters
    ----------
    ensemble : every miniature
    sessions : (B, S) number of each bone's miniatures; a scan that is missing repeats the first
    canvases_mm : (B,) height of the canvas each bone is seen on
    tall : (B,) whether that canvas is taller than wide
    families : (B,) number of the family, or -1
    kinds : (B,) kind of bone, or "" where nobody said
    origin : what they were made by; a checkpoint of another set is refused
    """

    ensemble: Ensemble
    sessions: NDArray[np.int64]
    canvases_mm: NDArray[np.float64]
    tall: NDArray[np.bool_]
    families: NDArray[np.int64]
    kinds: NDArray[np.str_]
    origin: str = ""

    def __len__(self) -> int:
        return len(self.sessions)

    def lesson(self, schedule: Schedule, step: int) -> Lesson:
        """The pictures of one step: half of the bones from whole families, the others each on its own."""
        rng = np.random.default_rng((schedule.seed, step))
        allowed = ~self._kept_back(schedule) & self._of(schedule.form)
        kinds = np.unique(self.kinds[allowed])
        chances = np.array([_LESSONS.get(kind, 1.0) for kind in kinds.tolist()])
        of_kind = allowed & (self.kinds == rng.choice(kinds, p=chances / chances.sum()))
        of_form = allowed & (self.tall == (rng.random() < self.tall[of_kind].mean()))
        alone = of_form & of_kind
        one_kind = schedule.settled(step) and rng.random() < _ONE_KIND and np.count_nonzero(alone) > 1
        return self._lesson(np.flatnonzero(alone if one_kind else of_form), schedule, rng)

    def examinations(self, schedule: Schedule) -> list[Lesson]:
        """The same pictures each time, of bones that are never trained on."""
        held = self._kept_back(schedule)
        found = []
        for number in range(_EXAMINATIONS):
            rng = np.random.default_rng((schedule.seed, 1, number))
            bones = np.flatnonzero(held & self._of(schedule.form or ("square" if number % 3 == 2 else "tall")))
            if len(bones) > 1:
                found.append(self._lesson(bones, schedule, rng))
        return found

    def _of(self, form: str | None) -> NDArray[np.bool_]:
        """Which are seen on canvases of a form."""
        return np.ones(len(self), dtype=bool) if form is None else self.tall == (form == "tall")

    def _kept_back(self, schedule: Schedule) -> NDArray[np.bool_]:
        """Every so many people and families; siblings stay together."""
        if not schedule.check_every:
            return np.zeros(len(self), dtype=bool)
        every = round(1 / _KEPT_BACK)
        alone = np.cumsum(self.families < 0)
        return np.asarray(np.where(self.families < 0, alone, self.families) % every == every - 1)

    def _lesson(self, bones: NDArray[np.int64], schedule: Schedule, rng: np.random.Generator) -> Lesson:
        """K pictures of P bones on one canvas, all seen from about the same side: from another would be no lesson.

        The first picture of each bone is as clean as a gallery's, and of the first scan.
        """
        canvas_mm, bones = on_one_canvas(bones, self.canvases_mm, rng)
        chosen = _choose(bones, self.families, schedule.bones, rng)
        each, count = schedule.views, len(chosen) * schedule.views
        owner = np.repeat(chosen, each)
        clean = np.arange(count) % each == 0
        tall = bool(self.tall[chosen[0]])
        size = canvas_pixels(canvas_of_height(canvas_mm))

        frontal = rng.random() < schedule.frontal_share
        direction = float(rng.choice([0, 90, 180, 270])) if frontal else float(rng.uniform(0, 360))
        spread = float(rng.choice(schedule.spreads_deg))
        # A gallery holds a view every few degrees, whatever the bone's own angle is.
        axis = direction + rng.uniform(-schedule.spreads_deg[0], schedule.spreads_deg[0], len(chosen)).repeat(each)
        axis = axis + np.where(clean, 0.0, rng.uniform(-spread, spread, count))
        tilt = rng.normal(0, np.where(clean, *_TILTS_DEG[tall]))
        lean = np.where(clean, rng.normal(0, 1.5, count), rng.uniform(-20, 20, count))
        pitch = np.full(count, canvas_mm / size[0])
        off = np.where(clean, 0.0, 1.0)[:, None] * rng.uniform(-0.05, 0.05, (count, 2)) * canvas_mm
        axes = np.stack(turned_axes(np.deg2rad(axis), np.deg2rad(tilt), np.deg2rad(lean), np)).transpose(2, 0, 1)
        looks = Looks(
            axes,
            off[:, [0]] * axes[:, 0] + off[:, [1]] * axes[:, 1],
            np.where(clean, 1.0, rng.uniform(0.985, 1.015, count)) * pitch,
            np.where(clean | (rng.random(count) < 0.25), 0.0, 1 / rng.uniform(700, 1800, count)),
        )
        scan = np.where(clean, 0, rng.integers(self.sessions.shape[1], size=count))
        views = self.ensemble.project(self.sessions[owner, scan], looks, *_PICTURE[tall])

        on = views.device
        generator = torch.Generator(on).manual_seed(int(rng.integers(2**62)))
        pictures, paths = views.unbind(1)
        pixel_mm, leaning = (torch.from_numpy(given.astype(np.float32)).to(on) for given in (pitch, np.deg2rad(lean)))
        masks = (paths > 0.5 * pixel_mm[:, None, None]).float()
        taken = torch.from_numpy(~clean).to(on)
        pictures[taken], masks[taken] = augment(
            pictures[taken], paths[taken], leaning[taken], pixel_mm[taken], size, generator
        )
        frames, turned_back, middle = framed(pictures, size, masks[:, None])
        labels = torch.arange(len(chosen), device=on).repeat_interleave(each)
        # The middle of a bone is as far from that of its picture as this looks beside it.
        moved = torch.from_numpy((-off / looks.pixel_mm[:, None]).astype(np.float32)).to(on)
        row, column = ((side - 1) / 2 + moved[:, axis] for side, axis in zip(_PICTURE[tall], (1, 0)))
        there = Lie(turned_back, *middle).to(Lie(leaning, row, column))
        centre = Lie(torch.zeros_like(row), *(torch.full_like(row, (side - 1) / 2) for side in frames.shape[2:]))
        lie = centre.moved(there)
        return Lesson(frames[:, :-1], labels, F.avg_pool2d(frames[:, -1:], 2), lie)


def on_one_canvas(
    bones: NDArray[np.int64], canvases_mm: NDArray[np.float64], rng: np.random.Generator
) -> tuple[float, NDArray[np.int64]]:
    """A canvas that one of some bones is enrolled on, and those of them that a search would compare on it.

    Parameters
    ----------
    bones : numbers
    canvases_mm : (B,) height of the canvas that every bone is enrolled on
    """
    own = canvases_mm[bones]
    drawn = float(rng.choice(own))
    seen = (own <= drawn) & (own >= drawn / 2)
    return (drawn, bones[seen]) if np.count_nonzero(seen) > 1 else (float(own.max()), bones)


def build(
    recipe: Recipe, folder: Path, *, workers: int | None = None, report: Callable[[int, int], None] | None = None
) -> TrainingSet:
    """Make the miniatures of a recipe, or go on where an earlier run stopped.

    Parameters
    ----------
    folder : cache; holds ``bodies-NNNN.npz`` and ``manifest.json``
    report : called with (bodies done, bodies in all)

    Raises
    ------
    BoneprintError
        If the folder holds the miniatures of another recipe.
    """
    listed = recipe.members()
    folder.mkdir(parents=True, exist_ok=True)
    manifest = folder / "manifest.json"
    said = json.dumps({"recipe": asdict(recipe), "rendering": RENDERING, "kev": drr.ENROLMENT_ENERGY.value}, indent=1)
    if manifest.exists() and manifest.read_text() != said:
        raise BoneprintError(
            f"{folder}: holds the miniatures of another recipe or version; delete it or name another one with --cache."
        )
    manifest.write_text(said)
    starts = range(0, len(listed), _SHARD)
    shards = [folder / f"bodies-{number:04d}.npz" for number in range(len(starts))]
    jobs = [
        (listed[start : start + _SHARD], recipe.sessions, shard)
        for start, shard in zip(starts, shards)
        if not shard.exists()
    ]
    done = len(shards) - len(jobs)
    for _ in _made(jobs, workers):
        done += 1
        if report:
            report(min(done * _SHARD, len(listed)), len(listed))
    families = np.array([member.family for member in listed], dtype=np.int64)
    return _loaded(shards, families, np.array([member.kind for member in listed]), repr(recipe))


def of_scans(scans: Iterable[tuple[Hashable, Volume]], origin: str, folder: Path) -> TrainingSet:
    """A user's own isolated bones; those of one key are scans of one bone, which lie as `bone.find_pose` finds them.

    Parameters
    ----------
    origin : what they are; what they hold is added to it, so that no checkpoint is gone on with when they have changed
    folder : cache for the miniatures

    Raises
    ------
    BoneprintError
        If there are fewer than two bones.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found: dict[Hashable, list[Shard]] = {}
    for key, volume in scans:
        found.setdefault(key, []).append(_miniature(volume))
    if len(found) < 2:
        raise BoneprintError(f"{origin}: {len(found)} bones, expected at least two to be told apart; give more CTs.")
    most = max(len(each) for each in found.values())
    shards = []
    for number, each in enumerate(found.values()):
        shards.append(folder / f"own-{number:05d}.npz")
        small, canvas, tall = each[0]
        _write(shards[-1], [([*(scan[0][0] for scan in each), *small * (most - len(each))], canvas, tall)])
    content = hashlib.sha256()
    for shard in shards:
        content.update(shard.read_bytes())
    told = f"{origin}, sha256 {content.hexdigest()[:16]}"
    return _loaded(shards, np.full(len(shards), -1, dtype=np.int64), np.full(len(shards), ""), told)


def _made(jobs: list[tuple[list[Member], int, Path]], workers: int | None) -> Iterator[None]:
    with ProcessPoolExecutor(workers or os.cpu_count() or 1, mp_context=get_context("spawn")) as pool:
        yield from pool.map(_make_shard, jobs)


def _make_shard(job: tuple[list[Member], int, Path]) -> None:
    torch.set_num_threads(1)
    members, sessions, path = job
    _write(path, [miniatures(member.body, sessions, member.condition) for member in members])


def _write(path: Path, bodies: list[Shard]) -> None:
    arrays: dict[str, NDArray[np.generic]] = {
        "canvases_mm": np.array([canvas for _, canvas, _ in bodies]),
        "tall": np.array([tall for _, _, tall in bodies]),
    }
    for number, (scans, _, _) in enumerate(bodies):
        for session, small in enumerate(scans):
            arrays[f"levels_{number}_{session}"] = small.levels
            arrays[f"affine_{number}_{session}"] = small.affine
    written = path.with_suffix(".tmp.npz")
    np.savez(written, **arrays)  # type: ignore[arg-type]
    written.replace(path)


def _loaded(shards: list[Path], families: NDArray[np.int64], kinds: NDArray[np.str_], origin: str) -> TrainingSet:
    small: list[Miniature] = []
    sessions, canvases, tall = [], [], []
    for shard in shards:
        with np.load(shard, allow_pickle=False) as stored:
            canvases.append(stored["canvases_mm"])
            tall.append(stored["tall"])
            each = sum(name.startswith("levels_0_") for name in stored.files)
            for number in range(len(canvases[-1])):
                sessions.append([len(small) + session for session in range(each)])
                small += [
                    Miniature(stored[f"levels_{number}_{session}"], stored[f"affine_{number}_{session}"])
                    for session in range(each)
                ]
    return TrainingSet(
        Ensemble(small, weights.device()),
        np.array(sessions),
        np.concatenate(canvases),
        np.concatenate(tall),
        families,
        kinds,
        origin,
    )


def miniatures(body: Body, sessions: int = 1, condition: Condition = HEALTHY) -> Shard:
    """Scan a body dry and coarsely, and find its pose in the first scan.

    Parameters
    ----------
    condition : of the first scan; what is missing then is missing ever after

    Returns
    -------
    one miniature for each session, all in the axes of the first; the height of their canvas in mm, and whether it is
    a tall one
    """
    rng = np.random.default_rng(np.random.SeedSequence(body.entropy, spawn_key=(7,)))
    left = 1 - condition.missing_below - condition.missing_above
    length = left * body.shape["length_mm"]
    long = body.bone in LONG and condition == HEALTHY
    guess = canvas_for(1.05 * length, 0.45 * length if long else length, long=long)
    step = _voxel_mm(guess, long)
    dry = Scanner((step,) * 3, soft_tissue_mm=0.0, blur_mm=0.35 * step, noise_hu=15.0)
    scan, placed = body.scan(dry, condition=condition)
    first, canvas, tall, to_own = _stood_up(scan)
    made = [first]
    for session in range(2, sessions + 1):
        scanner = Scanner(
            (step,) * 3,
            soft_tissue_mm=0.0,
            blur_mm=float(rng.uniform(0.3, 0.6)) * step,
            noise_hu=float(rng.uniform(8, 35)),
            tilt_deg=4.0,
            turn_deg=8.0,
            hu_gain=float(rng.normal(1.0, 0.015)),
            hu_offset=float(rng.normal(0.0, 8.0)),
        )
        # What is beside a bone is added to the picture (augment); here it would be taken for the bone.
        drawn = Condition.drawn(rng, share=_HARM, implants=body.implants)
        harm = replace(drawn, neighbours=False)
        if condition != HEALTHY:
            # What is left of a piece, and where it ends, stays as it was.
            harm = replace(condition, erosion_mm=drawn.erosion_mm, osteoporosis=drawn.osteoporosis)
        again, moved = body.scan(scanner, session, condition=harm)
        made.append(_cropped(again, to_own @ placed @ np.linalg.inv(moved)))
    return made, canvas.height_mm, tall


def _miniature(isolated: Volume) -> Shard:
    """One of a user's bones, on a grid as coarse as those of the simulated."""
    pose = bone.find_pose(isolated)
    extent = np.ptp(bone.extremes_mm(isolated, bone.BONY_HU) @ pose.axes.T, axis=0)
    canvas = _canvas(extent, pose.long)
    step = _voxel_mm(canvas, pose.long)
    small, canvas, tall, _ = _stood_up(bone.upright(isolated, pose, step), pose)
    return [small], canvas.height_mm, tall


def _voxel_mm(canvas: Canvas, long: bool) -> float:
    return _VOXEL[long] * canvas.height_mm / canvas_pixels(canvas)[0]


def _stood_up(scan: Volume, pose: bone.Pose | None = None) -> tuple[Miniature, Canvas, bool, NDArray[np.float64]]:
    """A miniature in its own axes, its canvas, whether that is a tall one, and the way from patient to own axes."""
    pose = pose or bone.find_pose(scan)
    along = bone.extremes_mm(scan, bone.BONY_HU) @ pose.axes.T
    low, high = along.min(axis=0), along.max(axis=0)
    to_own = np.eye(4)
    to_own[:3, :3] = pose.axes
    to_own[:3, 3] = -(low + high) / 2
    canvas = _canvas(high - low, pose.long)
    return _cropped(scan, to_own), canvas, pose.long, to_own


def _canvas(extent: NDArray[np.float64], long: bool) -> Canvas:
    """As `drr.canvas_of` for a specimen of this extent (x, y, z in mm), which has a margin of a few voxels."""
    margin = 1 + 8 / bone.STANDARD_STEPS
    return canvas_for(float(extent[2]) * margin, float(np.hypot(extent[0], extent[1])) * margin, long=long)


def _cropped(scan: Volume, to_own: NDArray[np.float64]) -> Miniature:
    """What is not air, with a voxel all round."""
    seen = scan.hu > _SEEN_HU
    corners = []
    for axis in range(3):
        there = np.flatnonzero(seen.any(axis=tuple(other for other in range(3) if other != axis)))
        corners.append((max(int(there[0]) - 1, 0), int(there[-1]) + 2))
    (z0, z1), (y0, y1), (x0, x1) = corners
    shift = np.eye(4)
    shift[:3, 3] = x0, y0, z0
    hu = np.where(seen, scan.hu, AIR_HU)[z0:z1, y0:y1, x0:x1]
    return Miniature.of(hu, to_own @ scan.affine @ shift, drr.ENROLMENT_ENERGY, air_hu=_SEEN_HU)


def _choose(
    bones: NDArray[np.int64], families: NDArray[np.int64], count: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Half of the bones as whole families (siblings are the hard negatives), the rest from bones without family."""
    own = families[bones]
    siblings: list[int] = []
    for number in rng.permutation(np.unique(own[own >= 0])):
        members = bones[own == number]
        if len(siblings) + len(members) > max(count // 2, count - int((own < 0).sum())):
            break
        siblings.extend(members)
    others = bones[own < 0]
    others = rng.choice(others, min(count - len(siblings), len(others)), replace=False)
    return np.concatenate([np.array(siblings, dtype=np.int64), others])
