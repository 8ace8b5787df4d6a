"""Shape models in HDF5, laid out as statismo does, so that its tools and Scalismo find what they know.

/model/mean (3N), /model/pcaBasis (3N, K), /model/pcaVariance (K), /model/noiseVariance, /representer/points (3, N),
/representer/cells (3, M), /version; and, of our own, /boneprint/shapes (S, 3N): what the model was learnt from.

References
----------
M. Lüthi et al., Statismo - a framework for PCA based statistical models, Insight Journal, 2012 (layout version 0.9).
"""

import os
from pathlib import Path

import h5py
import numpy as np

from boneprint.errors import ReadError
from boneprint.shape.model import ShapeModel

_VERSION = (0, 9)


def write_model(path: Path | str, model: ShapeModel) -> None:
    """Write a model; whole, or not at all."""
    path = Path(path)
    written = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with h5py.File(written, "w") as file:
            file["version/majorVersion"], file["version/minorVersion"] = (np.int32(number) for number in _VERSION)
            file["model/mean"] = model.mean.ravel().astype(np.float32)
            file["model/pcaBasis"] = model.modes.reshape(len(model.modes), -1).T.astype(np.float32)
            file["model/pcaVariance"] = (model.deviations_mm**2).astype(np.float32)
            file["model/noiseVariance"] = np.float32(0)
            file["representer/points"] = model.mean.T.astype(np.float32)
            file["representer/cells"] = model.faces.T.astype(np.int32)
            file["representer"].attrs["datasetType"] = "POLYGON_MESH"
            file["representer"].attrs["name"] = "vtkStandardMeshRepresenter"
            file["boneprint/shapes"] = model.shapes.reshape(len(model.shapes), -1).astype(np.float32)
            file["boneprint"].attrs["bone"] = model.bone
            file["boneprint"].attrs["unit"] = "mm"
        written.replace(path)
    finally:
        written.unlink(missing_ok=True)


def read_model(path: Path | str) -> ShapeModel:
    """Read a model, ours or another's in that layout.

    Raises
    ------
    ReadError
        If there is none, or it is none.
    """
    path = Path(path)
    if not path.is_file():
        raise ReadError(f"{path}: no such shape model. Check the spelling.")
    try:
        with h5py.File(path, "r") as file:
            mean = np.asarray(file["model/mean"], dtype=np.float64).reshape(-1, 3)
            basis = np.asarray(file["model/pcaBasis"], dtype=np.float64).T
            faces = np.asarray(file["representer/cells"], dtype=np.int64).T
            variance = np.asarray(file["model/pcaVariance"], dtype=np.float64)
            ours = file.get("boneprint")
            shapes = np.asarray(ours["shapes"] if ours else np.zeros((0, mean.size)), dtype=np.float64)
            bone = str(ours.attrs["bone"]) if ours else "bone"
        modes = basis.reshape(len(variance), *mean.shape)
        return ShapeModel(mean, faces, modes, np.sqrt(variance), shapes.reshape(-1, *mean.shape), bone)
    except (OSError, KeyError, ValueError) as error:
        raise ReadError(f"{path}: not a shape model ({error}); expected HDF5 in statismo's layout.") from error
