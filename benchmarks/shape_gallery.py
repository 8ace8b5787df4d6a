"""Galleries of simulated femora for `s1_shape.py`: surfaces, correspondence, fingerprints, each kept in a file.

A run that was stopped goes on where it was, a larger gallery takes what a smaller one has made, and another embedder
makes fingerprints anew and nothing else. All galleries of a seed share one template, of their first bones.
"""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from boneprint import bone, directions, drr, embed
from boneprint.nouns import Radiograph, canvas_of_height
from boneprint.shape import ShapeModel, Surface, Template, registered
from boneprint.shape.model import common_template, laid_together
from boneprint.simulate import Scanner, individual

# Coarse, so that hundreds fit: 2 mm for people, 0.5 mm for cats.
SCANNERS = {
    "human": Scanner((2.0, 2.0, 2.0), soft_tissue_mm=26.0, blur_mm=1.0, noise_hu=14.0),
    "cat": Scanner((0.5, 0.5, 0.5), soft_tissue_mm=8.0, blur_mm=0.25, noise_hu=14.0),
}
STEP_MM = {"human": 2.2, "cat": 0.55}  # of the true surfaces' grid
TEMPLATE_OF = 24  # bones


@dataclass(frozen=True, eq=False)
class Gallery:
    """Bones that may be chosen.

    Attributes
    ----------
    surfaces : true ones
    template : of the correspondence
    shapes : (S, N, 3) in correspondence, laid onto each other
    seconds : of computing that the correspondence of all of them took
    vectors, canvases_mm : of each bone, fingerprints of 36 views and the canvas they are on
    """

    surfaces: list[Surface]
    template: Template
    shapes: NDArray[np.float64]
    seconds: float
    vectors: list[NDArray[np.float32]]
    canvases_mm: list[float]

    @cached_property
    def model(self) -> ShapeModel:
        """Of all of them."""
        return ShapeModel.learnt(self.shapes, self.template.surface.faces, "femur")

    def nearest(self, pictures: list[Radiograph], angles_deg: Sequence[float], embedder: embed.Embedder) -> int:
        """The bone whose views are nearest to all pictures, which were taken from these directions."""
        probes = {height: embedder.embed(pictures, canvas_of_height(height)) for height in set(self.canvases_mm)}
        squared = [2 - 2 * probes[height] @ known.T for known, height in zip(self.vectors, self.canvases_mm)]
        return int(np.argmin([directions.together(each, drr.ENROLMENT_ANGLES, angles_deg)[0] for each in squared]))


def collect(species: str, size: int, seed: int, cache: Path, embedder: embed.Embedder) -> Gallery:
    """The first bones of a seed, from the cache where they are there."""
    folder = cache / f"{species}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)

    def surface(index: int) -> Surface:
        body = individual(seed, index, species=species, laterality="R")
        found = _kept(folder / f"surface-{index:04d}.npz", lambda: _parts(body.surface(step_mm=STEP_MM[species])))
        return Surface(found["vertices"], found["faces"], body.subject_id)

    surfaces = [surface(index) for index in range(max(size, TEMPLATE_OF))]
    made = _kept(folder / "template.npz", lambda: _timed(lambda: _template(surfaces[:TEMPLATE_OF])))
    template, seconds = Template(Surface(made["vertices"], made["faces"], "template")), float(made["seconds"])
    surfaces = surfaces[:size]
    shapes = []
    for index, each in enumerate(surfaces):
        found = _kept(
            folder / f"shape-{index:04d}.npz",
            lambda each=each: _timed(lambda: {"vertices": registered(template, each).vertices}),
        )
        shapes.append(found["vertices"])
        seconds += float(found["seconds"])
    prints = [
        _kept(
            folder / f"prints-{embedder.id.replace(':', '-')}-{index:04d}.npz",
            lambda index=index: _prints(species, seed, index, embedder),
        )
        for index in range(size)
    ]
    return Gallery(
        surfaces,
        template,
        laid_together(np.stack(shapes)),
        seconds,
        [each["vectors"] for each in prints],
        [float(each["canvas_mm"]) for each in prints],
    )


def _prints(species: str, seed: int, index: int, embedder: embed.Embedder) -> dict[str, object]:
    body = individual(seed, index, species=species, laterality="R")
    upright, pose = bone.stand_up(bone.isolate(body.scan(SCANNERS[species])[0]))
    canvas = drr.canvas_of(upright, long=pose.long)
    vectors = embedder.embed_views(drr.enrolment_views(upright, body.subject_id, long=pose.long), canvas)
    return {"vectors": vectors, "canvas_mm": canvas.height_mm}


def _template(surfaces: list[Surface]) -> dict[str, object]:
    found = common_template(surfaces).surface
    return {"vertices": found.vertices, "faces": found.faces}


def _parts(surface: tuple[NDArray[np.float64], NDArray[np.int64]]) -> dict[str, object]:
    return dict(zip(("vertices", "faces"), surface))


def _timed(make: Callable[[], dict[str, object]]) -> dict[str, object]:
    clock = time.process_time()
    made = make()
    return {**made, "seconds": time.process_time() - clock}


def _kept(path: Path, make: Callable[[], dict[str, object]]) -> dict[str, NDArray[np.generic]]:
    """What a file holds; made and written whole where it is not there."""
    if not path.exists():
        written = path.with_suffix(f".{os.getpid()}.tmp.npz")  # several may fill one cache
        np.savez(written, **make())  # type: ignore[arg-type]
        written.replace(path)
    with np.load(path, allow_pickle=False) as found:
        return dict(found)
