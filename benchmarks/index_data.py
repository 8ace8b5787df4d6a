"""Galleries for the index benchmark: four synthetic kinds, and fingerprints of simulated bones; each from a seed."""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]

DIM = 128
_SIMULATED_VIEWS = 24


@dataclass(frozen=True, eq=False)
class Data:
    """What is enrolled, and what is asked.

    Parameters
    ----------
    what, seed : which
    bone : views of bone n, (V, D) float32 unit rows
    bones, views : how many bones, and views of each
    probes : (Q, D) float32 unit rows
    """

    what: str
    seed: int
    bone: Callable[[int], FloatArray]
    bones: int
    views: int
    probes: FloatArray

    def all(self) -> Iterator[FloatArray]:
        """Every bone's views in turn."""
        return map(self.bone, range(self.bones))


def unit(rows: NDArray[np.floating]) -> FloatArray:
    """Rows of length one."""
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def clustered(bones: int, views: int, probes: int, seed: int) -> Data:
    """Bones anywhere on the sphere, views of a bone about 0.5 apart."""
    centres = unit(np.random.default_rng(seed).normal(size=(bones, DIM)))
    return _scattered("bones anywhere, views about 0.5 apart", centres, 0.36, views, probes, seed)


def hard(bones: int, views: int, probes: int, seed: int) -> Data:
    """Families of ten bones: two siblings' centres are nearer to each other (0.42) than two views of one bone (0.7)."""
    rng = np.random.default_rng(seed)
    parents = unit(rng.normal(size=(-(-bones // 10), DIM)))
    centres = unit(np.repeat(parents, 10, axis=0)[:bones] + 0.3 * rng.normal(size=(bones, DIM)) / np.sqrt(DIM))
    return _scattered(
        "families of ten siblings 0.4 apart, views of one bone 0.7 apart", centres, 0.55, views, probes, seed
    )


def wide(bones: int, views: int, probes: int, seed: int) -> Data:
    """Views run along a closed curve with three harmonics, as when walking round a bone; about 1.1 apart."""
    harmonics = np.arange(1, 4)

    def curve(bone: int, turns: NDArray[np.float64], noise: float, salt: int) -> FloatArray:
        rng = np.random.default_rng((seed, 1, bone))
        centre = rng.normal(size=DIM)
        swings = rng.normal(size=(6, DIM)) * 0.63
        phases = 2 * np.pi * np.outer(turns, harmonics)
        points = centre + np.concatenate([np.cos(phases), np.sin(phases)], axis=1) @ swings
        fuzz = np.random.default_rng((seed, 2 + salt, bone)).normal(size=points.shape)
        return unit(unit(points) + noise * fuzz / np.sqrt(DIM))

    asked = np.random.default_rng((seed, 0)).integers(bones, size=probes)
    at = np.random.default_rng((seed, 9)).random(probes)
    rows = [curve(int(bone), at[n : n + 1], 0.3, 1 + n) for n, bone in enumerate(asked)]
    around = np.arange(views) / views
    return Data(
        "views on a closed curve, about 1.1 apart",
        seed,
        lambda bone: curve(bone, around, 0.1, 0),
        bones,
        views,
        np.concatenate(rows),
    )


def bone_by_bone(bones: int, views: int, probes: int, seed: int) -> Data:
    """The clustered kind with its bones in an order that follows one direction: neighbours are enrolled one by one."""
    centres = unit(np.random.default_rng(seed).normal(size=(bones, DIM)))
    centres = centres[np.argsort(centres[:, 0] + 0.5 * centres[:, 1])]
    return _scattered(
        "views about 0.28 apart, neighbours enrolled one after the other", centres, 0.2, views, probes, seed
    )


def simulated(given: argparse.Namespace) -> Data:
    """The shipped embedder's fingerprints of the bodies that `boneprint train` scans, probed with noisy views.

    24 views of each over half a turn, rendered from its miniature (see boneprint/training_set.py). The probe is one of
    them with noise, left out of the gallery.
    """
    import torch

    from boneprint import embed, training_set
    from boneprint.drr.ensemble import Looks
    from boneprint.drr.geometry import turned_axes
    from boneprint.embed.preprocess import canvas_pixels
    from boneprint.nouns import Radiograph, canvas_for
    from boneprint.training_recipe import Recipe

    torch.set_num_threads(1)
    embedder = embed.load_embedder()
    bodies = training_set.build(Recipe(), given.rendered)
    axis = np.deg2rad(np.arange(_SIMULATED_VIEWS) * 180 / _SIMULATED_VIEWS)
    level = np.zeros(len(axis))
    axes = np.stack(turned_axes(axis, level, level, np)).transpose(2, 0, 1)
    rng = np.random.default_rng(given.seed)
    left_out = rng.integers(_SIMULATED_VIEWS, size=len(bodies))
    asked = rng.choice(len(bodies), size=min(given.probes, len(bodies)), replace=False)

    def fingerprints(bone: int, rows: NDArray[np.int64], noise: float) -> FloatArray:
        height_mm, tall = float(bodies.canvases_mm[bone]), bool(bodies.tall[bone])
        canvas = canvas_for(height_mm, height_mm / 2 if tall else height_mm, long=tall)
        size = canvas_pixels(canvas)
        pixel_mm = canvas.height_mm / size[0]
        count = len(rows)
        looks = Looks(axes[rows], np.zeros((count, 3)), np.full(count, pixel_mm), np.zeros(count))
        members = np.repeat(bodies.sessions[bone, 0], count)
        pictures = bodies.ensemble.project(members, looks, *size)[:, 0].numpy()
        noisy = [p + noise * p.max() * rng.normal(size=p.shape).astype(np.float32) for p in pictures]
        return embedder.embed([Radiograph(p, pixel_mm, None, "simulated") for p in noisy], canvas)

    return Data(
        "simulated bones, one view of each left out and probed with noise",
        given.seed,
        lambda bone: fingerprints(bone, np.flatnonzero(np.arange(_SIMULATED_VIEWS) != left_out[bone]), 0.0),
        len(bodies),
        _SIMULATED_VIEWS - 1,
        np.concatenate([fingerprints(int(bone), left_out[[bone]], 0.02) for bone in asked]),
    )


def _scattered(what: str, centres: FloatArray, spread: float, views: int, probes: int, seed: int) -> Data:
    """Views normally about each centre, at ``spread`` from it on average; probes likewise, and a little farther."""

    def around(bone: int, count: int, salt: int, farther: float) -> FloatArray:
        noise = np.random.default_rng((seed, salt, bone)).normal(size=(count, DIM))
        return unit(centres[bone] + farther * spread * noise / np.sqrt(DIM))

    asked = np.random.default_rng((seed, 0)).integers(len(centres), size=probes)
    rows = np.concatenate([around(int(bone), 1, 2 + n, 1.2) for n, bone in enumerate(asked)])
    return Data(what, seed, lambda bone: around(bone, views, 1, 1.0), len(centres), views, rows)


KINDS: dict[str, Callable[[argparse.Namespace], Data]] = {
    "clustered": lambda given: clustered(given.bones, given.views, given.probes, given.seed),
    "hard": lambda given: hard(given.bones, given.views, given.probes, given.seed),
    "wide manifold": lambda given: wide(given.bones, given.views, given.probes, given.seed),
    "bone by bone": lambda given: bone_by_bone(given.bones, given.views, given.probes, given.seed),
    "simulated bones": simulated,
}
