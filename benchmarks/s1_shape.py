"""S1's Table 1: a bone's surface from AP and ML, by the nearest bone, by a shape model, and by the best bone there is.

Gallery bones are simulated right femora of one seed, probes of another. Every bone is scanned coarsely; a gallery
bone's 36 views are embedded as enrolment does, a probe's AP and ML are natural-looking radiographs (flesh, exposure,
noise, a pose within 15 degrees). Nearest: the gallery surface whose fingerprints are nearest. SSM: the gallery's shape
model fitted from there. Oracle: the gallery surface that matches best, by its truth. Real femora are filled with a
simulated inside. All is kept in a cache folder, so that a run that was stopped goes on.
"""

import argparse
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import report
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from boneprint import bone, drr, embed, views
from boneprint.nouns import Radiograph, Volume, canvas_of_height
from boneprint.shape import (
    ShapeModel,
    Surface,
    Template,
    build_model,
    compare,
    draw,
    fit_model,
    read_surface,
    registered,
)
from boneprint.shape.align import refined_motion, rigid_motion
from boneprint.shape.model import laid_together
from boneprint.simulate import Scanner, individual

REAL = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "meshes" / "staple"
PICTURES = Path(__file__).parent / "results" / "s1_shape"
SIDES = (0.0, 90.0)  # AP and ML
KINDS = ("cat", "human", "real")
SETTINGS = {"reduced": (24,), "full": (24, 100, 500)}
S1 = {"rms_relative": 0.0073, "better_of_24": 2.6, "rms_mm": 0.86, "ssm_note": "its SSM was worse than nearest"}

# Coarse, so that hundreds fit: 2 mm for people, 0.5 mm for cats.
SCANNERS = {
    "human": Scanner((2.0, 2.0, 2.0), soft_tissue_mm=26.0, blur_mm=1.0, noise_hu=14.0),
    "cat": Scanner((0.5, 0.5, 0.5), soft_tissue_mm=8.0, blur_mm=0.25, noise_hu=14.0),
}
_CLOUD, _RANKED = 20_000, 2000  # points on a surface when the gallery is ranked
STEP_MM = {"human": 2.2, "cat": 0.55}  # of the true surfaces' grid


@dataclass(frozen=True, eq=False)
class Gallery:
    """Bones that may be chosen: true surfaces, fingerprints of 36 views each, canvases, and all in correspondence."""

    surfaces: list[Surface]
    vectors: list[NDArray[np.float32]]
    canvases_mm: list[float]
    model: ShapeModel


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--setting", choices=list(SETTINGS), default="reduced", help="galleries of 24; of 24, 100, 500")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), help="of probes; real: human gallery")
    parser.add_argument("--probes", type=int, default=5)
    parser.add_argument("--seed", type=int, default=18, help="of the gallery; probes are of the next seed")
    parser.add_argument("--cache", type=Path, default=Path(".cache/s1_shape"), help="a stopped run goes on from here")
    parser.add_argument("--weights", type=Path, default=embed.SHIPPED, help="of another embedder than the shipped one")
    parser.add_argument("--name", default="s1_shape", help="of the JSON in benchmarks/results")
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(report.heading(), f"seeds {given.seed} (gallery), {given.seed + 1} (probes)", sep="\n")
    embedder = embed.load_embedder(given.weights)
    outcome: dict[str, object] = {}
    for kind in given.kinds:
        for size in SETTINGS[given.setting]:
            gallery = collect("cat" if kind == "cat" else "human", size, given, embedder)
            outcome[f"{kind}, {size}"] = (
                real(gallery, embedder, size) if kind == "real" else simulated(gallery, kind, size, given, embedder)
            )
    report.write(
        given.name,
        {
            "question": "surface of a femur from AP and ML: nearest bone, shape model, best bone in the gallery",
            "s1": S1,
            "embedder": embedder.id,
            "seed": given.seed,
            "setting": given.setting,
            "measure": "RMS and Hausdorff of both directions after rigid alignment without scale, mm; relative to the "
            "diagonal of the true bone's box",
            "outcome": outcome,
        },
    )


def simulated(
    gallery: Gallery, species: str, size: int, given: argparse.Namespace, embedder: embed.Embedder
) -> dict[str, object]:
    """Every simulated probe by every method."""
    rows = []
    for index in range(given.probes):
        body = individual(given.seed + 1, index, species=species, laterality="R")
        truth = Surface(*body.surface(step_mm=STEP_MM[species]), f"{species} {index}")
        volume, _ = body.scan(SCANNERS[species])
        rows.append(measure(gallery, gallery.model, truth, volume, index, embedder))
        print(f"{species}, {size}: {line(rows[-1])}", flush=True)
    return summary(rows, f"{species}-{size}")


def summary(rows: list[dict[str, object]], name: str) -> dict[str, object]:
    """All probes and their means; draws the best and the worst."""
    pictures(rows, name)
    for row in rows:
        del row["comparison"]
    found = {"probes": rows, "mean": means(rows)}
    print(f"{name}: mean {found['mean']}", flush=True)
    return found


def collect(species: str, size: int, given: argparse.Namespace, embedder: embed.Embedder) -> Gallery:
    """The gallery's bones, from the cache where they are there."""
    surfaces, vectors, canvases = [], [], []
    folder = given.cache / f"{species}-{given.seed}"
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(size):
        body = individual(given.seed, index, species=species, laterality="R")
        kept = folder / f"{index:04d}-{embedder.id.replace(':', '-')}.npz"
        if not kept.exists():
            surface = Surface(*body.surface(step_mm=STEP_MM[species]))
            upright, pose = bone.stand_up(bone.isolate(body.scan(SCANNERS[species])[0]))
            canvas = drr.canvas_of(upright, long=pose.long)
            embedded = embedder.embed(drr.enrolment_views(upright, body.subject_id), canvas)
            store(kept, vertices=surface.vertices, faces=surface.faces, vectors=embedded, canvas=canvas.height_mm)
        with np.load(kept, allow_pickle=False) as found:
            surfaces.append(Surface(found["vertices"], found["faces"], body.subject_id))
            vectors.append(found["vectors"])
            canvases.append(float(found["canvas"]))
    kept = folder / f"model-{size}.npz"
    if not kept.exists():
        learnt = build_model(surfaces, bone="femur")
        store(kept, shapes=learnt.shapes, faces=learnt.faces)
    with np.load(kept, allow_pickle=False) as found:
        return Gallery(surfaces, vectors, canvases, ShapeModel.learnt(found["shapes"], found["faces"], "femur"))


def store(path: Path, **arrays: object) -> None:
    written = path.with_suffix(".tmp.npz")
    np.savez(written, **arrays)  # type: ignore[arg-type]
    written.replace(path)


def measure(
    gallery: Gallery, model: ShapeModel, truth: Surface, volume: Volume, index: int, embedder: embed.Embedder
) -> dict[str, object]:
    """One bone: its radiographs, the nearest bone, the fitted model, and the best bone that might have been chosen."""
    rng = np.random.default_rng((77, index))
    pose = bone.find_pose(bone.isolate(volume))
    pictures = [views.natural(volume, pose=pose, **taken_from(rng, side)) for side in SIDES]
    chosen = nearest(gallery, pictures, embedder)
    near = compare(gallery.surfaces[chosen], truth)
    clock = time.process_time()
    fitted = fit_model(model, pictures, SIDES, start=model.coefficients(model.laid(gallery.model.shapes[chosen])))
    seconds = time.process_time() - clock
    ssm = compare(fitted.surface, truth)
    apart = np.array([quick_rms(Surface(shape, gallery.model.faces), truth) for shape in gallery.model.shapes])
    best = compare(gallery.surfaces[int(apart.argmin())], truth)
    return {
        "bone": truth.source,
        **{name: figures(each) for name, each in (("nearest", near), ("ssm", ssm), ("oracle", best))},
        "better_than_nearest": int((apart < apart[chosen]).sum()),
        "likeness": [round(each, 3) for each in fitted.likeness],
        "axis_deg": [round(view.axis_deg, 1) for view in fitted.views],
        "fit_cpu_s": round(seconds, 1),
        "comparison": ssm,
    }


def taken_from(rng: np.random.Generator, side_deg: float) -> dict[str, object]:
    """A pose within 15 degrees about the axis and 10 in the plane, 2 (sd) out of it, and the seed of an exposure."""
    return {
        "angle_deg": side_deg + float(rng.uniform(-15, 15)),
        "in_plane_deg": float(rng.uniform(-10, 10)),
        "tilt_deg": (float(rng.normal(0, 2)), float(rng.normal(0, 2))),
        "seed": int(rng.integers(2**31)),
    }


def nearest(gallery: Gallery, pictures: list[Radiograph], embedder: embed.Embedder) -> int:
    """The bone whose views are nearest to both radiographs."""
    heights = set(gallery.canvases_mm)
    probes = {height: embedder.embed(pictures, canvas_of_height(height)) for height in heights}
    alike = [known @ probes[height].T for known, height in zip(gallery.vectors, gallery.canvases_mm)]
    distances = [float(np.sqrt((2 - 2 * each.max(axis=0)).mean())) for each in alike]
    return int(np.argmin(distances))


def quick_rms(surface: Surface, truth: Surface) -> float:
    """RMS of both directions, for ranking: they stand in one frame, and need no search for a start."""
    moved = surface.moved(refined_motion(surface, truth, np.eye(4) + shift(surface, truth), rough=True))
    both = [cKDTree(b.sampled(_CLOUD)[0]).query(a.sampled(_RANKED)[0])[0] for a, b in ((moved, truth), (truth, moved))]
    return float(np.sqrt(np.mean(np.square(both))))


def shift(surface: Surface, truth: Surface) -> NDArray[np.float64]:
    found = np.zeros((4, 4))
    found[:3, 3] = truth.centre_mm - surface.centre_mm
    return found


def real(gallery: Gallery, embedder: embed.Embedder, size: int) -> dict[str, object]:
    """Real right femora as CT, by a model of simulated bones alone, and by one that the other real ones joined."""
    if not REAL.is_dir():
        return {"skipped": f"no real femora: {REAL} is not there"}
    template = Template(Surface(gallery.model.mean, gallery.model.faces))
    # Laid as the model stands: whoever takes an AP turns the limb until it is one.
    found = sorted(REAL.glob("*/femur_r.ply"))
    bones = [replace(read_surface(path), source=f"{path.parent.name} {path.stem}") for path in found]
    bones = [each.moved(rigid_motion(each, template.surface)) for each in bones]
    shapes = [registered(template, each).vertices for each in bones]
    outcome: dict[str, object] = {}
    for name in ("simulated bones alone", "with the other real ones"):
        rows = []
        for index, (truth, volume) in enumerate((each, as_ct(each)) for each in bones):
            model = gallery.model
            if name != "simulated bones alone":
                others = np.stack([shape for other, shape in enumerate(shapes) if other != index])
                joined = laid_together(np.concatenate([gallery.model.shapes, others]))
                model = ShapeModel.learnt(joined, gallery.model.faces, "femur")
            rows.append(measure(gallery, model, truth, volume, 1000 + index, embedder))
            print(f"real, {name}, {size}: {line(rows[-1])}", flush=True)
        outcome[name] = summary(rows, f"real-{size}" + ("" if name == "simulated bones alone" else "-joined"))
    return outcome


def as_ct(surface: Surface, step_mm: float = 2.0) -> Volume:
    """A bone filled with cortex (thick in the shaft) and core (spongy at the ends), in a cylinder of muscle."""
    low, high = surface.vertices.min(axis=0) - 40, surface.vertices.max(axis=0) + 40
    nx, ny, nz = np.ceil((high - low) / step_mm).astype(int)
    grid = np.stack(np.meshgrid(np.arange(nz), np.arange(ny), np.arange(nx), indexing="ij")[::-1], axis=-1)
    places = (grid.reshape(-1, 3) * step_mm + low).astype(np.float64)
    points, faces = surface.sampled(100_000)
    tree = cKDTree(points)
    outer = np.hypot(*(places - surface.centre_mm)[:, :2].T) < 0.5 * np.ptp(surface.vertices[:, :2], axis=0).max() + 25
    away, at = tree.query(places, distance_upper_bound=25.0)
    near = np.isfinite(away)
    signed = np.where(near, away, 25.0)
    behind = np.einsum("nd,nd->n", places[near] - points[at[near]], surface.face_normals[faces[at[near]]])
    signed[near] *= np.sign(behind)
    height = (places[:, 2] - surface.vertices[:, 2].min()) / np.ptp(surface.vertices[:, 2])
    shaft = np.clip(1 - np.abs(2 * height - 1) ** 3, 0, 1)
    cortex = (0.003 + 0.010 * shaft) * surface.diagonal_mm
    core = -40 + 300 * (1 - shaft)
    share = np.clip(0.5 - signed / step_mm, 0, 1)
    inside = np.clip(0.5 - (signed + cortex) / step_mm, 0, 1)
    hu = np.where(outer, 55.0, -1000.0) * (1 - share) + share * (1550.0 * (1 - inside) + core * inside)
    affine = np.diag([step_mm] * 3 + [1.0])
    affine[:3, 3] = low
    noise = np.random.default_rng(5).normal(0, 12, hu.shape)
    return Volume((hu + noise).clip(-1024, 3071).reshape(nz, ny, nx).astype(np.int16), affine)


def figures(comparison: object) -> dict[str, float]:
    return {
        "rms_mm": round(comparison.rms_mm, 3),
        "hausdorff_mm": round(comparison.hausdorff_mm, 2),
        "rms_relative": round(comparison.rms_mm / comparison.diagonal_mm, 5),
        "hausdorff_relative": round(comparison.hausdorff_mm / comparison.diagonal_mm, 5),
    }


def means(rows: list[dict[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {
        method: {name: round(float(np.mean([row[method][name] for row in rows])), 5) for name in rows[0][method]}
        for method in ("nearest", "ssm", "oracle")
    }
    found["better_than_nearest"] = float(np.mean([row["better_than_nearest"] for row in rows]))
    found["ssm_below_nearest"] = round(1 - found["ssm"]["rms_mm"] / found["nearest"]["rms_mm"], 3)
    return found


def line(row: dict[str, object]) -> str:
    cells = [
        f"{name} {row[name]['rms_mm']:.2f}/{row[name]['hausdorff_mm']:.1f}" for name in ("nearest", "ssm", "oracle")
    ]
    return f"{row['bone']}: {', '.join(cells)} mm; {row['better_than_nearest']} better; fit {row['fit_cpu_s']} s"


def pictures(rows: list[dict[str, object]], name: str) -> None:
    """S1's Figure 5: the best and the worst of the model's alignments."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    ordered = sorted((row["comparison"] for row in rows), key=lambda each: each.rms_mm)
    for which, each in (("best", ordered[0]), ("worst", ordered[-1])):
        draw(PICTURES / f"{name}-{which}.png", each, f"{name}, {which}: model on {Path(each.b.source).name}")


if __name__ == "__main__":
    main()
