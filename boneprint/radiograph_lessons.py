"""A last course, on radiographs as life takes them: they are rendered once and kept, and so are few.

Bodies are looked at anew in every step, but cheaply (`training_set`). Here each bone has some radiographs from either
side, behind flesh, in cone beam and from later scans, and the enrolled view that is likest to each. Of both there are
as many again in the mirror.

Some visits come after harm: an implant, a break, a loss. By a course without such implants were forgotten
(docs/training.md). And after some the neighbouring bones are in the picture, of what is not long always. In all
pictures the bone is marked, and the finder is taught which one is meant. The leveller stays as it is.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from boneprint import training_visits, two_visits
from boneprint.drr import enrolment_directions
from boneprint.embed.preprocess import canvas_pixels, normalise, place_all
from boneprint.embed.training import Lesson, Schedule
from boneprint.nouns import Canvas, canvas_of_height
from boneprint.training_recipe import CAT, PIECE
from boneprint.training_set import on_one_canvas
from boneprint.two_visits import SESSIONS, SIDES, Arrays

if TYPE_CHECKING:
    from boneprint.embed import Embedder

# Before any bone was marked two cores rendered all vertebrae, hip bones, lumps and pieces in 26 minutes, two visits of
# each, and all others, with four visits, in 36.
COUNTS: Final[Mapping[str, int]] = {
    "femur": 288,
    "tibia": 144,
    "humerus": 144,
    "radius": 144,
    CAT: 72,
    "vertebra": 135,
    "hip": 180,
    "lump": 60,
    PIECE: 180,
}
# How many lessons are on each kind beside those of others: as many as there are bones of it, but for this share, in
# which all are shown together.
_ALL_KINDS = 0.25
# Visits by which something has happened to the bone, and how likely each visit is shown in a lesson. Examinations of
# a whole course show none of them: their loss would be that of the few bones that can hardly be told any more.
HARMED: Final[tuple[int, ...]] = (4, 5)
_SHOWN: Final[Mapping[int, float]] = dict.fromkeys(SESSIONS, 0.35) | dict.fromkeys(HARMED, 0.15)
_EXAMINED: Final[Mapping[int, float]] = dict.fromkeys(SESSIONS, 0.5)
# How far about the axis the likest view is looked for. Of 96 radiographs of 24 of these bones the likest of all views,
# by compact-8, was within 17 degrees of the direction that was drawn, but for one, which was likest to a wrong one.
_NEAR_DEG = 20.0
# Absorption from which on a view, which is of nothing but the bone, shows it. Of 0, 0.01, 0.03 and 0.1 this one agreed
# best with the marks of compact-11's finder on 24 bones of its lessons (by a script that is not kept).
_SHOWN_BY_A_VIEW = 0.01
# What follows was chosen beforehand, and nothing else was tried. How far beside its place a bone is looked at, sd:
# radians, and pixels down and right.
_BESIDE = (0.03, 2.0, 2.0)
_SPACING = 0.015  # by so much the spacing of a radiograph may be wrong
_NOISIER = 0.5  # of radiographs have noise added, of up to the noise they have
_KEPT_BACK = 16  # one bone in so many examines, and is not trained on
_EXAMINATIONS = 8


@dataclass(frozen=True, eq=False)
class Picture:
    """Grey values (h, w) float32, of a spacing in mm, and which pixels show the bone (h, w)."""

    pixels: NDArray[np.float32]
    spacing_mm: float
    mark: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class RadiographLessons:
    """Bones to be told apart by their radiographs, and to be found in them.

    Parameters
    ----------
    radiographs, views : of each bone by (session, side): what was taken, and the enrolled view that is likest
    canvases_mm : (B,) height of the canvas each bone is enrolled on
    tall : (B,) whether that canvas is taller than wide
    kinds : (B,) kind of bone
    origin : what they were made by; a checkpoint of other lessons is refused
    """

    radiographs: list[dict[tuple[int, str], Picture]]
    views: list[dict[tuple[int, str], Picture]]
    canvases_mm: NDArray[np.float64]
    tall: NDArray[np.bool_]
    kinds: NDArray[np.str_]
    origin: str

    def __len__(self) -> int:
        return len(self.kinds)

    def lesson(self, schedule: Schedule, step: int) -> Lesson:
        """The pictures of one step."""
        rng = np.random.default_rng((schedule.seed, step))
        allowed = self._allowed(schedule, examined=False)
        first = int(rng.choice(np.flatnonzero(allowed)))
        of_form = allowed & (self.tall == self.tall[first])
        alone = of_form & (self.kinds == self.kinds[first])
        one_kind = rng.random() >= _ALL_KINDS and np.count_nonzero(alone) > 1
        return self._lesson(np.flatnonzero(alone if one_kind else of_form), schedule, rng)

    def examinations(self, schedule: Schedule) -> list[Lesson]:
        """The same pictures each time, of bones that are never trained on."""
        held = self._allowed(schedule, examined=True)
        # Where the finder alone is taught, neighbours are what it learns to leave out.
        visits = _SHOWN if schedule.finder_only else _EXAMINED
        found = []
        for number in range(_EXAMINATIONS):
            rng = np.random.default_rng((schedule.seed, 1, number))
            bones = np.flatnonzero(held & (self.tall == (number < _EXAMINATIONS / 2)))
            if len(bones) > 1:
                found.append(self._lesson(bones, schedule, rng, visits))
        return found

    def _allowed(self, schedule: Schedule, *, examined: bool) -> NDArray[np.bool_]:
        kept_back = np.arange(len(self)) % _KEPT_BACK == _KEPT_BACK - 1 if schedule.check_every else False
        wanted = self.tall == (schedule.form == "tall") if schedule.form else True
        return np.ones(len(self), dtype=bool) & wanted & (kept_back if examined else np.logical_not(kept_back))

    def _lesson(
        self,
        bones: NDArray[np.int64],
        schedule: Schedule,
        rng: np.random.Generator,
        visits: Mapping[int, float] = _SHOWN,
    ) -> Lesson:
        """K pictures of P bones from one side on one canvas, each bone in the mirror or not.

        They are the view that is likest to one of its radiographs, that radiograph, another one, and its likest view.
        """
        canvas_mm, bones = on_one_canvas(bones, self.canvases_mm, rng)
        chosen = rng.choice(bones, min(schedule.bones, len(bones)), replace=False)
        canvas, side = canvas_of_height(canvas_mm), str(rng.choice(list(SIDES)))
        frames, marks = [], []
        for number in chosen.tolist():
            mirrored = rng.random() < 0.5
            one, other = rng.choice(list(visits), 2, replace=False, p=list(visits.values())).tolist()
            views, taken = self.views[number], self.radiographs[number]
            pictures = views[one, side], taken[one, side], taken[other, side], views[other, side]
            for natural, picture in zip((False, True, True, False), pictures[: schedule.views]):
                shown = _varied(picture, rng) if natural else picture
                seen, mark = _framed(shown, canvas, mirrored=mirrored)
                frames.append(seen)
                marks.append(mark)
        labels = torch.arange(len(chosen)).repeat_interleave(len(frames) // len(chosen))
        beside = torch.from_numpy(rng.normal(0, _BESIDE, (len(frames), 3)).astype(np.float32))
        return Lesson(torch.stack(frames), labels, torch.stack(marks), beside=beside)


def _framed(picture: Picture, canvas: Canvas, *, mirrored: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """What the network is given of a picture, (CHANNELS, H, W), and where in it the bone is, (1, H / 2, W / 2)."""

    def placed(pixels: NDArray[np.generic]) -> torch.Tensor:
        whole = place_all(torch.from_numpy(pixels.astype(np.float32))[None], picture.spacing_mm, canvas)
        return whole.flip(2) if mirrored else whole

    size = canvas_pixels(canvas)
    seen = normalise(placed(picture.pixels), size, placed(picture.mark)[:, None])[0]
    return seen[:-1], F.avg_pool2d(seen[-1:], 2)


def _varied(radiograph: Picture, rng: np.random.Generator) -> Picture:
    """Of a spacing that is a little wrong, and perhaps noisier: what was seen before is not quite seen again."""
    pixels, spacing_mm = radiograph.pixels, radiograph.spacing_mm * rng.uniform(1 - _SPACING, 1 + _SPACING)
    if rng.random() < _NOISIER:
        around = (pixels[:-2, 1:-1] + pixels[2:, 1:-1] + pixels[1:-1, :-2] + pixels[1:-1, 2:]) / 4
        sd = float(np.median(np.abs(pixels[1:-1, 1:-1] - around))) * 1.4826 / np.sqrt(1.25)
        pixels = pixels + rng.uniform(0, sd) * rng.standard_normal(pixels.shape, dtype=np.float32)
    return Picture(pixels, spacing_mm, radiograph.mark)


def build(
    seed: int,
    counts: Mapping[str, int],
    folder: Path,
    embedder: "Embedder",
    *,
    workers: int = 2,
    report: Callable[[str, int, int], None] | None = None,
) -> RadiographLessons:
    """Render so many bones of each kind, or go on where an earlier run stopped, and find the likest views.

    Parameters
    ----------
    embedder : the one that is going to be trained on; it says which view is likest
    report : called with (stage, bones done, bones in all)
    """

    def tell(stage: str) -> Callable[[int, int], None]:
        return lambda done, total: report(stage, done, total) if report else None

    rendering, looking = tell("rendering radiographs"), tell("finding the likest views")
    paths = training_visits.build(
        seed, counts, training_visits.TAUGHT_ON, folder, harmed=HARMED, marked=True, workers=workers, report=rendering
    )
    listed = [(kind, path) for kind, of_kind in paths.items() for path in of_kind]
    radiographs, views, canvases_mm, tall = [], [], [], []
    for done, (_, path) in enumerate(listed, 1):
        arrays = two_visits.load(path)
        taken, likest = _told(arrays, embedder)
        radiographs.append(taken)
        views.append(likest)
        canvases_mm.append(float(arrays["canvas_mm"]))
        tall.append("tilted" not in arrays)
        looking(done, len(listed))
    said = ", ".join(f"{count} {kind}" for kind, count in counts.items())
    return RadiographLessons(
        radiographs,
        views,
        np.array(canvases_mm),
        np.array(tall),
        np.array([kind for kind, _ in listed]),
        f"radiographs of seed {seed}, {len(HARMED)} of {len(_SHOWN)} visits after harm: {said}; "
        f"views likest by {embedder.id}",
    )


def _told(
    arrays: Arrays, embedder: "Embedder"
) -> tuple[dict[tuple[int, str], Picture], dict[tuple[int, str], Picture]]:
    """The radiographs of a bone, and the view that is likest to each."""
    canvas, spacing_mm = canvas_of_height(float(arrays["canvas_mm"])), float(arrays["spacing_mm"])
    pictures = [view for some in two_visits.all_round(arrays) for view in some]
    angles_deg, _ = enrolment_directions(long="tilted" not in arrays)
    radiographs, likest = {}, {}
    for side, side_deg in SIDES.items():
        near = {}
        for session in _SHOWN:
            off = np.abs((angles_deg - side_deg - float(arrays[f"{session}-{side}_drawn"][0]) + 180) % 360 - 180)
            near[session] = np.flatnonzero(off <= _NEAR_DEG).tolist()
        looked_at = sorted({number for numbers in near.values() for number in numbers})
        embedded: dict[int, NDArray[np.float32]] = {}
        for size in {pictures[number].shape for number in looked_at}:
            rows = [number for number in looked_at if pictures[number].shape == size]
            some = torch.from_numpy(np.stack([pictures[number] for number in rows]))
            embedded.update(zip(rows, embedder.embed_tensors(some, spacing_mm, canvas).cpu().numpy()))
        for session, numbers in near.items():
            taken = two_visits.radiograph(arrays, session, side)
            known = np.stack([embedded[number] for number in numbers])
            nearest = numbers[int((known @ embedder.embed([taken], canvas)[0]).argmax())]
            mark = arrays[f"{session}-{side}_mark"].astype(np.bool_)
            radiographs[session, side] = Picture(taken.pixels, taken.known_spacing_mm(), mark)
            view = pictures[nearest].copy()
            likest[session, side] = Picture(view, spacing_mm, view > _SHOWN_BY_A_VIEW)
    return radiographs, likest
