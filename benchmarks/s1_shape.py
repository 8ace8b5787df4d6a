"""S1's Table 1: a bone's surface from AP and ML, by the nearest bone, by a shape model, and by the best bone there is.

Gallery bones are simulated right femora of one seed, probes of another. Every bone is scanned coarsely; a gallery
bone's 36 views are embedded as enrolment does, a probe's AP and ML are natural-looking radiographs (flesh, exposure,
noise, a pose within 15 degrees). Nearest: the gallery surface whose fingerprints are nearest, S1's choice. SSM: the
gallery's shape model, loosened, fitted from there and from the mean. Nearest by SSM: the gallery surface that is
nearest to that fit. Oracle: the gallery surface that matches best, by its truth. Real femora are filled with a
simulated inside. Galleries are kept in a cache folder (`shape_gallery.py`), so that a run that was stopped goes on.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import report
import torch
from scipy.spatial import cKDTree
from shape_gallery import SCANNERS, STEP_MM, Gallery, collect

from boneprint import bone, embed, views
from boneprint.nouns import Volume
from boneprint.shape import ShapeModel, Surface, compare, draw, fit_model, read_surface, registered, rough_rms_mm
from boneprint.shape.align import rigid_motion
from boneprint.shape.model import laid_together
from boneprint.simulate import individual

REAL = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "meshes" / "staple"
RESULTS = Path(__file__).parent / "results"
SIDES = (0.0, 90.0)  # AP and ML
KINDS = ("cat", "human", "real")
SETTINGS = {"reduced": (24,), "full": (24, 100, 500)}
S1 = {"rms_relative": 0.0073, "better_of_24": 2.6, "rms_mm": 0.86, "ssm_note": "its SSM was worse than nearest"}

_LIKELY = 12  # surfaces that are compared with a fitted one
METHODS = ("nearest", "nearest_by_ssm", "ssm", "oracle")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--setting", choices=list(SETTINGS), default="reduced", help="galleries of 24; of 24, 100, 500")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), help="of probes; real: human gallery")
    parser.add_argument("--probes", type=int, default=5)
    parser.add_argument("--sizes", nargs="+", type=int, help="of galleries, instead of the setting's")
    parser.add_argument("--seed", type=int, default=18, help="of the gallery")
    parser.add_argument("--probe-seed", type=int, default=57, help="of the probes, and of their poses and exposures")
    parser.add_argument("--cache", type=Path, default=Path(".cache/s1_shape"), help="a stopped run goes on from here")
    parser.add_argument("--weights", type=Path, default=embed.SHIPPED, help="of another embedder than the shipped one")
    parser.add_argument("--name", default="s1_shape", help="of the JSON in benchmarks/results")
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(report.heading(), f"seeds {given.seed} (gallery), {given.probe_seed} (probes)", sep="\n")
    embedder = embed.load_embedder(given.weights)
    outcome: dict[str, object] = {}
    for kind in given.kinds:
        for size in given.sizes or SETTINGS[given.setting]:
            gallery = collect("cat" if kind == "cat" else "human", size, given.seed, given.cache, embedder)
            rows = real if kind == "real" else simulated
            outcome[f"{kind}, {size}"] = {
                "correspondence_cpu_s": round(gallery.seconds, 1),
                **rows(gallery, kind, size, given, embedder),
            }
    report.write(
        given.name,
        {
            "question": "surface of a femur from AP and ML: nearest bone, shape model, best bone in the gallery",
            "s1": S1,
            "embedder": embedder.id,
            "seed": given.seed,
            "probe_seed": given.probe_seed,
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
    model = gallery.model.loosened()
    for index in range(given.probes):
        body = individual(given.probe_seed, index, species=species, laterality="R")
        truth = Surface(*body.surface(step_mm=STEP_MM[species]), f"{species} {index}")
        volume, _ = body.scan(SCANNERS[species])
        rng = np.random.default_rng((given.probe_seed, index))
        rows.append(measure(gallery, model, truth, volume, rng, embedder))
        print(f"{species}, {size}: {line(rows[-1])}", flush=True)
    return summary(rows, f"{species}-{size}", given.name)


def summary(rows: list[dict[str, object]], name: str, folder: str) -> dict[str, object]:
    """All probes and their means; draws the best and the worst."""
    pictures(rows, name, folder)
    for row in rows:
        del row["comparison"]
    found = {"probes": rows, "mean": means(rows)}
    print(f"{name}: mean {found['mean']}", flush=True)
    return found


def measure(
    gallery: Gallery,
    model: ShapeModel,
    truth: Surface,
    volume: Volume,
    rng: np.random.Generator,
    embedder: embed.Embedder,
) -> dict[str, object]:
    """One bone: its radiographs, the nearest bone, the fitted model, and the best bone that might have been chosen."""
    pose = bone.find_pose(bone.isolate(volume))
    pictures = [views.natural(volume, pose=pose, **taken_from(rng, side)) for side in SIDES]
    chosen = gallery.nearest(pictures, SIDES, embedder)
    clock = time.process_time()
    fitted = fit_model(model, pictures, SIDES, start=model.coefficients(model.laid(gallery.shapes[chosen])))
    seconds = time.process_time() - clock
    known = [Surface(shape, gallery.template.surface.faces) for shape in gallery.shapes]
    by_fit = nearest_surface(gallery, known, fitted.surface)
    apart = np.array([rough_rms_mm(each, truth) for each in known])
    shown = {
        "nearest": gallery.surfaces[chosen],
        "nearest_by_ssm": gallery.surfaces[by_fit],
        "ssm": fitted.surface,
        "oracle": gallery.surfaces[int(apart.argmin())],
    }
    compared = {name: compare(surface, truth) for name, surface in shown.items()}
    return {
        "bone": truth.source,
        **{name: figures(each) for name, each in compared.items()},
        "better_than_nearest": int((apart < apart[chosen]).sum()),
        "better_than_nearest_by_ssm": int((apart < apart[by_fit]).sum()),
        "likeness": [round(each, 3) for each in fitted.likeness],
        "axis_deg": [round(view.axis_deg, 1) for view in fitted.views],
        "fit_cpu_s": round(seconds, 1),
        "comparison": compared["ssm"],
    }


def nearest_surface(gallery: Gallery, known: list[Surface], fitted: Surface) -> int:
    """Of the gallery, to a surface in its correspondence: the nearest of those whose vertices are nearest."""
    apart = ((gallery.shapes - gallery.model.laid(fitted.vertices)) ** 2).sum(axis=(1, 2))
    likely = np.argsort(apart)[:_LIKELY]
    return int(likely[np.argmin([rough_rms_mm(known[at], fitted) for at in likely])])


def taken_from(rng: np.random.Generator, side_deg: float) -> dict[str, object]:
    """A pose within 15 degrees about the axis and 10 in the plane, 2 (sd) out of it, and the seed of an exposure."""
    return {
        "angle_deg": side_deg + float(rng.uniform(-15, 15)),
        "in_plane_deg": float(rng.uniform(-10, 10)),
        "tilt_deg": (float(rng.normal(0, 2)), float(rng.normal(0, 2))),
        "seed": int(rng.integers(2**31)),
    }


def real(gallery: Gallery, _: str, size: int, given: argparse.Namespace, embedder: embed.Embedder) -> dict[str, object]:
    """Real femora as CT, by a model of simulated bones alone, and by one that other people's real ones joined.

    Left ones are mirrored.
    """
    if not REAL.is_dir():
        return {"skipped": f"no real femora: {REAL} is not there"}
    # Laid as the model stands: whoever takes an AP turns the limb until it is one.
    found = sorted(REAL.glob("*/femur_?.ply"))
    bones = [replace(read_surface(path), source=f"{path.parent.name} {path.stem}") for path in found]
    bones = [each.mirrored() if each.source.endswith("_l") else each for each in bones]
    people = [path.parent.name for path in found]
    mean = Surface(gallery.model.mean, gallery.model.faces)
    bones = [each.moved(rigid_motion(each, mean)) for each in bones]
    volumes = [as_ct(each) for each in bones]
    shapes = [registered(gallery.template, each).vertices for each in bones]
    outcome: dict[str, object] = {}
    for name in ("simulated bones alone", "with the other real ones"):
        rows = []
        model = gallery.model.loosened()
        for index, (truth, volume) in enumerate(zip(bones, volumes)):
            if name != "simulated bones alone":
                others = np.stack([shape for shape, person in zip(shapes, people) if person != people[index]])
                joined = laid_together(np.concatenate([gallery.shapes, others]))
                model = ShapeModel.learnt(joined, gallery.model.faces, "femur").loosened()
            rng = np.random.default_rng((given.probe_seed, 1000 + index))
            rows.append(measure(gallery, model, truth, volume, rng, embedder))
            print(f"real, {name}, {size}: {line(rows[-1])}", flush=True)
        joined_name = f"real-{size}" + ("" if name == "simulated bones alone" else "-joined")
        outcome[name] = summary(rows, joined_name, given.name)
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
        for method in METHODS
    }
    for name in ("better_than_nearest", "better_than_nearest_by_ssm"):
        found[name] = float(np.mean([row[name] for row in rows]))
    found["ssm_below_nearest"] = round(1 - found["ssm"]["rms_mm"] / found["nearest"]["rms_mm"], 3)
    return found


def line(row: dict[str, object]) -> str:
    cells = [f"{name} {row[name]['rms_mm']:.2f}/{row[name]['hausdorff_mm']:.1f}" for name in METHODS]
    better = f"{row['better_than_nearest']} and {row['better_than_nearest_by_ssm']} better"
    return f"{row['bone']}: {', '.join(cells)} mm; {better}; fit {row['fit_cpu_s']} s"


def pictures(rows: list[dict[str, object]], name: str, folder: str) -> None:
    """S1's Figure 5: the best and the worst of the model's alignments."""
    place = RESULTS / folder
    place.mkdir(parents=True, exist_ok=True)
    ordered = sorted((row["comparison"] for row in rows), key=lambda each: each.rms_mm)
    for which, each in (("best", ordered[0]), ("worst", ordered[-1])):
        draw(place / f"{name}-{which}.png", each, f"{name}, {which}: model on {Path(each.b.source).name}")


if __name__ == "__main__":
    main()
