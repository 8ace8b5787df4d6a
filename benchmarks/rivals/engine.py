"""What an adapter is: something that holds a body and renders views of it, each with its cost."""

import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from rivals.request import View


@dataclass(frozen=True)
class Frame:
    """One rendered view.

    ``image`` is (rows, columns) float32, line integrals without unit. ``wall_s`` and ``cpu_s`` (user and system, all
    threads) are the cost of the rendering alone. Of a command, ``process_s`` is what its user waits for, start and
    loading of the body included, and ``process_mib`` its peak of resident memory; both are NaN for a library.
    """

    image: npt.NDArray[np.float32]
    wall_s: float
    cpu_s: float
    process_s: float = float("nan")
    process_mib: float = float("nan")


class Engine(Protocol):
    """Made from a Request; the making is the preparation. ``method`` says what is computed, ``version`` by what."""

    method: str
    version: str

    def render(self, view: View) -> Frame: ...


def cpu_s(whose: int = resource.RUSAGE_SELF) -> float:
    """User and system seconds of this process (or RUSAGE_CHILDREN: of those that ended) so far."""
    usage = resource.getrusage(whose)
    return usage.ru_utime + usage.ru_stime


def peak_mib(process: int | str = "self") -> float:
    """Most memory that a running process ever had resident; NaN when it has ended.

    Not ru_maxrss: a child inherits that from its parent through fork and exec.
    """
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return float("nan")
    lines = dict(line.split(":", 1) for line in status.splitlines())
    return int(lines["VmHWM"].split()[0]) / 1024 if "VmHWM" in lines else float("nan")


def timed(render: Callable[[], npt.NDArray[np.float32]]) -> Frame:
    """Render in this process and take the time."""
    wall, cpu = time.perf_counter(), cpu_s()
    image = render()
    return Frame(image, time.perf_counter() - wall, cpu_s() - cpu)
