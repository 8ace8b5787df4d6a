"""Real surfaces of bones as bodies that can be scanned: their shape is theirs, what fills them is simulated.

Surfaces are read from PLY, brought into the bone frame of the right side and made signed distances; cortex, spongy
bone and texture come from the simulation's kind of bone, other ones for every interior. A second visit is remodelled a
little, as a simulated one is.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from boneprint.simulate import HEALTHY, Body, Condition
from boneprint.simulate.atlas import SIDE, WARP
from boneprint.simulate.clay import Clay
from boneprint.simulate.kinds import KINDS
from boneprint.simulate.shape import Shape

_BESIDE = Path(__file__).resolve().parents[1].parent / "shared" / "data"
DATA = Path(os.environ.get("BONEPRINT_DATA", _BESIDE))

_STEP_MM = 1.0  # of the signed distance: the triangles of the surfaces are some 2.5 mm wide
_POINTS_PER_CELL = 12  # of the sampled surface, so that its voxels are a closed shell
_MARGIN_MM = 8.0
_CAP_MM = 25.0  # above the end of a fragment its shaft is itself again, and not the lid of the mesh
_REAL = 9  # the stream of these bodies, beside those of boneprint.simulate.individual

_LPS, _RAS = np.eye(3), np.diag([-1.0, -1.0, 1.0])
# Whose axes point where: told by the sacra, which lie behind the hip bones, and by the sides.
_AXES = {"ICL_MRI": _RAS, "JIA_MRI": _LPS, "MC22": _LPS, "m3": _LPS, "m4": _LPS}


@dataclass(frozen=True)
class Surface:
    """One real bone: a connected part of a file.

    Parameters
    ----------
    kind : of the simulation; its inside, and its bones to be told from
    part : 0 is the largest by area, 1 the next
    fragment : an upper end only
    """

    file: Path
    person: str
    kind: str
    side: str
    part: int = 0
    fragment: bool = False

    @property
    def group(self) -> str:
        """What it is told from: other bones of its kind, or upper ends of them."""
        return f"{'proximal ' if self.fragment else ''}{self.kind}"

    @property
    def name(self) -> str:
        return f"{self.group} {self.person} {self.side}"


def surfaces(data: Path) -> list[Surface]:
    """Every real bone below a folder of data; none where it is absent."""
    found = []
    for home in sorted((data / "meshes" / "staple").glob("*/")):
        for kind in ("femur", "tibia"):  # a tibia comes with its fibula, the smaller part
            found += [Surface(f, home.name, kind, f.stem[-1].upper()) for f in sorted(home.glob(f"{kind}_?.ply"))]
        pelvis = home / "pelvis.ply"
        if pelvis.exists():
            found += [Surface(pelvis, home.name, "hip", side, part) for side, part in _halves(pelvis, home.name)]
    for file in sorted((data / "meshes" / "libhip").glob("*femur_mm.ply")):
        person, side = file.stem[:2], file.stem[3].upper()
        found.append(Surface(file, person, "femur", side, fragment=True))
    return found


def _halves(pelvis: Path, person: str) -> list[tuple[str, int]]:
    """Which parts of a pelvis are hip bones: of the three large ones the sacrum is the shortest."""
    parts = [(vertices @ _AXES[person].T)[faces.ravel()] for vertices, faces in _parts(pelvis)]
    hips = sorted(range(3), key=lambda part: np.ptp(parts[part], axis=0).max())[1:]
    left, right = sorted(hips, key=lambda part: -parts[part][:, 0].mean())
    return [("L", left), ("R", right)]


@cache
def _parts(file: Path) -> list[tuple[NDArray[np.float64], NDArray[np.int64]]]:
    """Vertices (N, 3) mm and faces (M, 3) of the three largest connected parts of a PLY file, by area."""
    vertices, faces = _read_ply(file)
    vertices, same = np.unique(vertices, axis=0, return_inverse=True)
    faces = same.reshape(-1)[faces]
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    _, of_edge, uses = np.unique(edges, axis=0, return_inverse=True, return_counts=True)
    # Faces hang together by edges that only two of them share: bones may touch in a point or along an edge.
    of_edge = of_edge.reshape(-1)
    side = np.flatnonzero(uses[of_edge] == 2)
    first, second = side[np.argsort(of_edge[side], kind="stable")].reshape(-1, 2).T % len(faces)
    graph = coo_array((np.ones(len(first)), (first, second)), shape=(len(faces),) * 2)
    _, of_face = connected_components(graph, directed=False)
    areas = np.bincount(of_face, weights=_areas(vertices, faces))
    return [(vertices, faces[of_face == part]) for part in np.argsort(areas)[::-1][:3]]


def _read_ply(file: Path) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Binary, little endian, float x y z and triangles: what all of these files are."""
    head, body = file.read_bytes().split(b"end_header\n", 1)
    sizes = {words[1]: int(words[2]) for line in head.decode().splitlines() if (words := line.split())[0] == "element"}
    if b"binary_little_endian" not in head or list(sizes) != ["vertex", "face"]:
        raise SystemExit(f"{file}: expected a binary little-endian PLY of vertices and faces.")
    vertices = np.frombuffer(body, "<f4", 3 * sizes["vertex"]).reshape(-1, 3)
    triangle = np.dtype([("corners", "u1"), ("at", "<i4", 3)])
    faces = np.frombuffer(body, triangle, sizes["face"], offset=vertices.nbytes)
    return vertices.astype(np.float64), faces["at"].astype(np.int64)


def _areas(vertices: NDArray[np.float64], faces: NDArray[np.int64]) -> NDArray[np.float64]:
    a, b, c = (vertices[faces[:, corner]] for corner in range(3))
    return np.asarray(np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2)


@dataclass(frozen=True, eq=False)
class Distances:
    """Signed distance (Z, Y, X) in mm, negative inside, in the bone frame of the right side; ``low_mm`` is its corner.

    The origin is half-way up the bone, or where that would be if a fragment were as long as ``length_mm``.
    """

    mm: NDArray[np.float32]
    low_mm: NDArray[np.float64]
    length_mm: float
    missing_below: float


def distances_path(folder: Path, surface: Surface) -> Path:
    return folder / "surfaces" / f"{surface.name.replace(' ', '-')}.npz"


@cache
def _kept(path: Path) -> Distances:
    with np.load(path, allow_pickle=False) as stored:
        return Distances(
            stored["mm"].astype(np.float32),
            stored["low_mm"],
            float(stored["length_mm"]),
            float(stored["missing_below"]),
        )


def distances(surface: Surface) -> dict[str, NDArray[np.generic]]:
    """What `Distances` of a real surface holds; of a fragment, with its shaft going on below."""
    vertices, faces = _parts(surface.file)[surface.part]
    vertices = vertices @ _AXES[surface.person].T
    if surface.side == "L":
        vertices = vertices * [-1.0, 1.0, 1.0]
    points = _sampled(vertices, faces)
    low, high = points.min(axis=0), points.max(axis=0)
    height = float(high[2] - low[2])
    length = KINDS["femur"].numbers["human"]["length_mm"][0] if surface.fragment else height
    middle = (low + high) / 2
    middle[2] = high[2] - length / 2
    corner = low - _MARGIN_MM
    shell = np.zeros(np.ceil((high + _MARGIN_MM - corner) / _STEP_MM).astype(int)[::-1] + 1, dtype=bool)
    x, y, z = np.round((points - corner) / _STEP_MM).astype(int).T
    shell[z, y, x] = True
    inside = _filled(shell)
    outwards, inwards = ndimage.distance_transform_edt(~inside), ndimage.distance_transform_edt(inside)
    # The shell itself lies at distance 0.
    signed = ndimage.gaussian_filter(np.where(inside, 1 - inwards, outwards), 1.0) * _STEP_MM
    missing = 0.0
    if surface.fragment:
        signed = signed[round((_MARGIN_MM + _CAP_MM) / _STEP_MM) :]
        corner[2] += _MARGIN_MM + _CAP_MM
        missing = 1 - height / length
    return {
        "mm": signed.astype(np.float16),
        "low_mm": corner - middle,
        "length_mm": np.array(length),
        "missing_below": np.array(missing),
    }


def _sampled(vertices: NDArray[np.float64], faces: NDArray[np.int64]) -> NDArray[np.float64]:
    """Points all over a surface, evenly by area."""
    rng = np.random.default_rng(1)
    areas = _areas(vertices, faces)
    drawn = rng.choice(len(faces), round(areas.sum() / _STEP_MM**2 * _POINTS_PER_CELL), p=areas / areas.sum())
    u, v = np.sqrt(rng.random(len(drawn))), rng.random(len(drawn))
    a, b, c = (vertices[faces[drawn, corner]] for corner in range(3))
    return np.asarray((1 - u)[:, None] * a + (u * (1 - v))[:, None] * b + (u * v)[:, None] * c)


def _filled(shell: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """What a shell encloses, itself too: in sections along two of the three axes at least, for some meshes have slits.

    Where there are none, the volume is that of the mesh to 0.2 % (measured).
    """
    votes = np.zeros(shell.shape, dtype=np.uint8)
    for axis in range(3):
        for section, counted in zip(np.moveaxis(shell, axis, 0), np.moveaxis(votes, axis, 0)):
            counted += ndimage.binary_fill_holes(section)
    return votes >= 2


class _Still:
    """Draws nothing but zeros: a real surface is not warped."""

    def standard_normal(self, size: tuple[int, ...], dtype: type = np.float64) -> NDArray[np.floating]:
        return np.zeros(size, dtype=dtype)


class RealBody(Body):
    """A body whose outer surface is what its kind says, to the last bump."""

    def stream(self, *key: int) -> np.random.Generator:
        if key in {(WARP,), *((each,) for each in SIDE.values())}:
            return _Still()  # type: ignore[return-value]
        return super().stream(*key)


def body(surface: Surface, interior: int, seed: int, folder: Path) -> tuple[Body, Condition]:
    """A real bone with one of many insides, and what is missing of it; its signed distance is kept in ``folder``."""
    real = _kept(distances_path(folder, surface))
    own = KINDS[surface.kind]
    entropy = (seed, _REAL, interior, *surface.name.encode())
    inside = Shape.sample(np.random.default_rng(np.random.SeedSequence(entropy)), own.numbers["human"])
    lengths = (real.length_mm, *inside.values[1:])
    # A scan looks its kind up by name.
    KINDS[surface.name] = replace(own, name=surface.name, model=_model(real), box=_box(real))
    made = RealBody(
        f"{surface.name} {interior}", "human", surface.side, replace(inside, values=lengths), entropy, surface.name
    )
    condition = Condition(missing_below=real.missing_below, seed=interior) if surface.fragment else HEALTHY
    return made, condition


def _box(real: Distances) -> tuple[tuple[float, float], ...]:
    """What is modelled, in fractions of the length."""
    low, high = real.low_mm.copy(), real.low_mm + _STEP_MM * (np.array(real.mm.shape[::-1]) - 1)
    low[2] = min(low[2], -0.5 * real.length_mm - _MARGIN_MM)
    room = 0.05 * real.length_mm - _MARGIN_MM
    return tuple(
        (float(a - room) / real.length_mm, float(b + room) / real.length_mm) for a, b in zip(low, high, strict=True)
    )


def _model(real: Distances) -> Callable[[Shape, Clay], None]:
    def put(_: Shape, clay: Clay) -> None:
        cells = np.array(real.mm.shape[::-1]) - 1
        unit = [
            (place * real.length_mm - float(low)) * (2 / _STEP_MM / int(n)) - 1
            for place, low, n in zip(clay.points, real.low_mm, cells, strict=True)
        ]
        field = torch.from_numpy(real.mm)[None, None].to(unit[0].device)
        at = torch.stack(unit, dim=-1)[None]
        # Beyond the lowest plane of a fragment the shaft goes on as it is there.
        clay.distance = F.grid_sample(field, at, padding_mode="border", align_corners=True)[0, 0] / real.length_mm

    return put
