"""plastimatch (Debian package): one process a view, as its users run it.

plastimatch reports its own rendering time, without loading, and that is what counts here as wall seconds. CPU seconds
are those of the process less those of the same process on a single pixel, which starts and loads but does not render.
"""

import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from rivals.engine import Frame, cpu_s, peak_mib
from rivals.request import FAR_MM, Refused, Request, View

# Where `apt-get download` and `dpkg -x` may put the packages when they cannot be installed; see drr_rivals.txt.
UNPACKED = Path(sys.prefix) / "debian"
LOOK_S = 0.01  # between two looks at the memory of a running plastimatch


class Plastimatch:
    """``algorithm`` is plastimatch's own word: ``exact``. Its other one, ``uniform``, is slower and farther off."""

    def __init__(self, request: Request, algorithm: str):
        self._command, self._environment = find()
        self._environment["OMP_NUM_THREADS"] = str(request.threads)
        self._algorithm = algorithm
        self.method = f"{algorithm} (Siddon/Jacobs)"
        if request.views[0].parallel:
            self.method += f", source {FAR_MM / 1000:.0f} m away"
        reported = subprocess.run(
            [self._command, "--version"], env=self._environment, capture_output=True, text=True, check=True
        )
        self.version = reported.stdout.split()[-1]
        self._folder = tempfile.TemporaryDirectory()
        self._body = Path(self._folder.name) / "body.mha"
        write_mha(self._body, request)
        loading = self._run(request.views[0], "--subwindow", "0 0 0 0")
        self._loading_cpu_s = loading.cpu_s

    def render(self, view: View) -> Frame:
        view, columns = view.unmirrored()
        frame = self._run(view)
        image = frame.image.reshape(view.rows, view.columns)[:, columns]
        return replace(frame, image=image, cpu_s=max(frame.cpu_s - self._loading_cpu_s, 0.0))

    def _run(self, view: View, *more: str) -> Frame:
        """One process, the pixels flat."""
        to_foot_mm = view.foot_mm - view.detector_centre_mm
        column_mm, row_mm = view.pitch_mm
        foot_row = (view.rows - 1) / 2 + to_foot_mm @ view.along_column / row_mm
        foot_column = (view.columns - 1) / 2 + to_foot_mm @ view.along_row / column_mm
        # The isocentre is put on the detector: plastimatch keeps it in float32, and there it is small.
        options = {
            "--hu-conversion": "none",  # the body is in 1/mm already
            "--intensity-scale": "10",  # undoes its division by 10, from mm to cm
            "--algorithm": self._algorithm,
            "--output-format": "raw",
            "--dim": f"{view.columns} {view.rows}",  # its help says "row col"; measured, 1.9.4 takes columns first
            "--detector-size": words((view.columns * column_mm, view.rows * row_mm)),
            "--image-center": words((foot_column, foot_row)),
            "--sad": f"{view.source_to_plane_mm:.9g}",
            "--sid": f"{view.source_to_plane_mm:.9g}",
            "--isocenter": words(view.foot_mm),
            "--nrm": words(view.normal),
            "--vup": words(-view.along_column),
            "--output": f"{self._folder.name}/view_",
        }
        wall, cpu = time.perf_counter(), cpu_s(resource.RUSAGE_CHILDREN)
        process = subprocess.Popen(
            [self._command, "drr", *(word for option in options.items() for word in option), *more, str(self._body)],
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        process_mib = 0.0
        while process.poll() is None:  # the body is held until the end, so the last look before it sees the peak
            process_mib = max(process_mib, peak_mib(process.pid))
            time.sleep(LOOK_S)
        process_s = time.perf_counter() - wall
        said = process.communicate()[0]
        total = re.search(r"Total time: (\S+) secs", said)
        writing = re.search(r"I/O time: (\S+) sec", said)
        if process.returncode or not total or not writing:
            raise RuntimeError(f"plastimatch drr ended with {process.returncode}: {said}")
        image = np.fromfile(f"{self._folder.name}/view_0000.raw", np.float32)
        rendering_s = float(total[1]) - float(writing[1])
        return Frame(image, rendering_s, cpu_s(resource.RUSAGE_CHILDREN) - cpu, process_s, process_mib)


def find() -> tuple[str, dict[str, str]]:
    """The command and the environment it needs: the installed one, else the one unpacked into this venv."""
    environment = dict(os.environ)
    installed = shutil.which("plastimatch")
    if installed:
        return installed, environment
    unpacked = UNPACKED / "usr/bin/plastimatch"
    if unpacked.exists():
        folders = {str(library.parent) for library in (UNPACKED / "usr/lib").rglob("*.so*")}
        environment["LD_LIBRARY_PATH"] = os.pathsep.join(sorted(folders))
        return str(unpacked), environment
    raise Refused("no command plastimatch: apt-get install --no-install-recommends plastimatch, or see drr_rivals.txt")


def write_mha(path: Path, request: Request) -> None:
    """MetaImage with float voxels, the grid's middle at 0 mm."""
    header = {
        "ObjectType": "Image",
        "NDims": "3",
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "CompressedData": "False",
        "TransformMatrix": "1 0 0 0 1 0 0 0 1",
        "Offset": words(request.origin_mm),
        "ElementSpacing": words(request.spacing_mm),
        "DimSize": " ".join(map(str, request.mu_per_mm.shape[::-1])),
        "ElementType": "MET_FLOAT",
        "ElementDataFile": "LOCAL",  # must be the last line: voxels follow
    }
    with path.open("wb") as file:
        file.write("".join(f"{key} = {value}\n" for key, value in header.items()).encode())
        request.mu_per_mm.tofile(file)


def words(vector: Iterable[float]) -> str:
    """A vector as plastimatch reads it."""
    return " ".join(f"{component:.9g}" for component in vector)
