"""Meshes in files and in order: the only importer of pymeshlab (GPL-3)."""

import os
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from numpy.typing import NDArray

from boneprint.errors import BoneprintError, ReadError
from boneprint.shape.surface import FloatArray, Surface

FORMATS = (".stl", ".ply", ".obj")


def read_surface(path: Path | str) -> Surface:
    """Read STL, PLY or OBJ; what is odd about the mesh is in its notes.

    Vertices that STL repeats are united, and faces and vertices that are double or belong to nothing are dropped.

    Raises
    ------
    ReadError
        If there is no such file, or it is no mesh.
    BoneprintError
        If it is no surface of a bone in mm (see `Surface`).
    """
    path = Path(path)
    if path.suffix.lower() not in FORMATS:
        raise ReadError(f"{path}: a '{path.suffix}' file, expected a mesh as {', '.join(FORMATS)}.")
    if not path.is_file():
        raise ReadError(f"{path}: no such file. Check the spelling.")
    meshes = _meshes()
    try:
        meshes.load_new_mesh(str(path))
    except Exception as error:
        raise ReadError(f"{path}: cannot be read as {path.suffix[1:].upper()}; export the mesh again.") from error
    _refuse_nan(path)
    found = meshes.current_mesh()
    surface = Surface(found.vertex_matrix(), found.face_matrix(), str(path))
    before = len(surface.faces)
    for each in (
        "meshing_remove_duplicate_vertices",
        "meshing_remove_duplicate_faces",
        "meshing_remove_null_faces",
        "meshing_remove_unreferenced_vertices",
    ):
        getattr(meshes, each)()
    surface = _surface(meshes, str(path))
    dropped = before - len(surface.faces)
    notes = [f"{dropped} double or empty triangles were dropped"] if dropped else []
    notes += oddities(surface)
    if surface.volume_mm3 < 0 and not notes:
        surface = replace(surface, faces=surface.faces[:, ::-1])
        notes.append("its triangles looked inwards and were turned round")
    return replace(surface, notes=tuple(notes))


def _refuse_nan(path: Path) -> None:
    """MeshLab leaves out triangles with NaN without a word; another reader sees them."""
    try:
        vertices = np.asarray(trimesh.load_mesh(path, process=False).vertices)
    except Exception:  # what it cannot read, MeshLab could
        return
    if not np.isfinite(vertices).all():
        raise BoneprintError(f"{path}: NaN or infinite coordinates, expected finite mm; export the mesh again.")


def write_surface(
    path: Path | str, surface: Surface, *, colours: NDArray[np.uint8] | None = None, values: FloatArray | None = None
) -> None:
    """Write STL, PLY or OBJ, by the name's ending; whole, or not at all.

    Parameters
    ----------
    colours : (N, 3) of the vertices, kept by PLY and OBJ
    values : (N,) of the vertices, kept by PLY as "quality"
    """
    path = Path(path)
    if path.suffix.lower() not in FORMATS:
        raise BoneprintError(f"{path}: expected the name of a mesh to write, ending in {', '.join(FORMATS)}.")
    more: dict[str, Any] = {}
    if colours is not None:
        opaque = np.ones((len(colours), 1))
        more["v_color_matrix"] = np.hstack([colours / 255.0, opaque])
    if values is not None:
        more["v_scalar_array"] = values
    meshes = _meshes(surface, **more)
    kept: dict[str, Any] = {"save_vertex_color": True} if colours is not None and path.suffix != ".stl" else {}
    if values is not None and path.suffix.lower() == ".ply":
        kept["save_vertex_quality"] = True
    written = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        meshes.save_current_mesh(str(written), **kept)
        written.replace(path)
    except OSError:
        raise
    except Exception as error:
        raise BoneprintError(f"{path}: cannot be written; name another place, or make room.") from error
    finally:
        written.unlink(missing_ok=True)


def oddities(surface: Surface) -> list[str]:
    """What keeps a mesh from being the closed skin of one body, one sentence each; none if it is watertight."""
    measures = _meshes(surface).get_topological_measures()
    found = []
    if edges := measures["non_two_manifold_edges"]:
        found.append(f"not manifold: {edges} edges with more than two triangles")
    if vertices := measures["non_two_manifold_vertices"]:
        found.append(f"not manifold: {vertices} vertices where surfaces touch")
    if border := measures["boundary_edges"]:
        found.append(f"open: {border} edges with a single triangle")
    if (pieces := measures["connected_components_number"]) > 1:
        found.append(f"{pieces} separate pieces")
    return found


def mended(surface: Surface, *, largest_hole_edges: int = 1000) -> Surface:
    """Repair what is not manifold, keep the largest piece, and close its holes; what was done is noted.

    Parameters
    ----------
    largest_hole_edges : holes with longer rims stay open: the cut end of a fragment is one
    """
    found = oddities(surface)
    if not found:
        return surface
    meshes = _meshes(surface)
    meshes.meshing_repair_non_manifold_edges()
    meshes.meshing_repair_non_manifold_vertices()
    meshes.generate_splitting_by_connected_components(delete_source_mesh=True)
    largest = max((mesh for mesh in meshes), key=lambda mesh: mesh.face_number())
    meshes.set_current_mesh(largest.id())
    meshes.meshing_close_holes(maxholesize=largest_hole_edges, newfaceselected=False)
    meshes.meshing_re_orient_faces_coherently()
    result = _surface(meshes, surface.source)
    if result.volume_mm3 < 0:
        result = replace(result, faces=result.faces[:, ::-1])
    return replace(result, notes=(*surface.notes, f"mended ({'; '.join(found)})"))


def decimated(surface: Surface, *, tolerance_mm: float | None = None, faces: int | None = None) -> Surface:
    """Fewer triangles: as few as stay within a tolerance, or about a given number.

    Parameters
    ----------
    tolerance_mm : root mean square distance of the new surface from the old one
    faces : how many, instead
    """
    if (tolerance_mm is None) == (faces is None):
        raise BoneprintError("decimation: expected tolerance_mm or faces, and not both.")
    if faces is not None:
        return _collapsed(surface, faces)
    best = surface
    target = len(surface.faces) // 2
    points, _ = surface.sampled(10_000)
    while target >= 200:
        fewer = _collapsed(surface, target)
        if len(fewer.faces) > 1.1 * target or np.sqrt((distances_mm(points, fewer) ** 2).mean()) > tolerance_mm:
            break
        best, target = fewer, target // 2
    return best


def _collapsed(surface: Surface, faces: int) -> Surface:
    meshes = _meshes(surface)
    meshes.meshing_decimation_quadric_edge_collapse(
        targetfacenum=faces, preservenormal=True, preservetopology=True, preserveboundary=True, planarquadric=True
    )
    return replace(_surface(meshes, surface.source), notes=surface.notes)


def remeshed(surface: Surface, edge_mm: float) -> Surface:
    """Triangles of about one size, as a model's template wants them."""
    meshes = _meshes(surface)
    meshes.meshing_isotropic_explicit_remeshing(targetlen=_library().PureValue(edge_mm), iterations=8)
    return replace(_surface(meshes, surface.source), notes=surface.notes)


def distances_mm(points: FloatArray, surface: Surface) -> FloatArray:
    """(N,) distance of each point to the nearest place on a surface: to its triangles, not to their corners."""
    meshes = _meshes(surface)
    meshes.add_mesh(_library().Mesh(vertex_matrix=points))
    # Nothing may lie beyond the filter's horizon, which is a share of the two boxes' diagonal.
    meshes.compute_scalar_by_distance_from_another_mesh_per_vertex(
        measuremesh=1, refmesh=0, signeddist=False, maxdist=_library().PercentageValue(100)
    )
    return np.asarray(meshes.mesh(1).vertex_scalar_array(), dtype=np.float64)


def _surface(meshes: Any, source: str) -> Surface:
    mesh = meshes.current_mesh()
    return Surface(mesh.vertex_matrix(), mesh.face_matrix(), source)


def _meshes(surface: Surface | None = None, **more: Any) -> Any:
    meshes = _library().MeshSet()
    if surface is not None:
        mesh = _library().Mesh(vertex_matrix=surface.vertices, face_matrix=surface.faces.astype(np.int32), **more)
        meshes.add_mesh(mesh)
    return meshes


def _library() -> Any:
    """pymeshlab, or what to install for it."""
    try:
        return import_module("pymeshlab")
    except ModuleNotFoundError as error:
        raise BoneprintError("surfaces need pymeshlab, which is not installed: pip install pymeshlab.") from error
    except ImportError as error:
        raise BoneprintError(
            f"pymeshlab cannot be loaded ({error}); it needs graphics libraries of the system. On Debian: "
            "apt-get install libgl1 libopengl0 libx11-6 libxcb1."
        ) from error
