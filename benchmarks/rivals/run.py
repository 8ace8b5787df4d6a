"""Render the views of a request with one rival: ``run.py ENGINE REQUEST.npz ANSWER.npz``; ``run.py --list``.

Executed by the rivals' own Python (drr_rivals.txt); it does not import boneprint. REQUEST is what request.py describes;
ANSWER holds

- ``images`` (V, rows, columns) float32, line integrals without unit, of the last repeat;
- ``wall_s``, ``cpu_s``, ``process_s`` (V, repeats), as in engine.Frame;
- ``prepare_s`` (loading the body into the engine), ``warm_up_s`` (rendering the first view once before all that);
- ``peak_mib`` of resident memory, of this process or of the engine's own where it is a command, and ``idle_mib``, the
  share of it that was there before the engine held the body: the request and the imported library;
- ``engine``, ``version``, ``method``, ``threads`` and ``reason``: empty, or why the engine gave no images. Then none of
  the above is there and the exit status is 3.
"""

import os
import sys
import time
from importlib import import_module
from pathlib import Path

import numpy as np

if not __package__:
    # Run as a file, this folder heads the search path, and our diffdrr.py would hide the engine of that name.
    sys.path[0] = str(Path(__file__).resolve().parents[1])
from rivals.engine import peak_mib
from rivals.request import Refused, Request

# engine: its adapter's module and class, and what the class is told
ENGINES = {
    "plastimatch-exact": ("plastimatch", "Plastimatch", "exact"),
    "rtk-joseph": ("rtk", "Rtk", "Joseph"),
    "diffdrr-siddon": ("diffdrr", "DiffDrr", "siddon"),
    "diffdrr-trilinear": ("diffdrr", "DiffDrr", "trilinear"),
    "astra-line": ("astra", "Astra", "line"),
    "nanodrr": ("nanodrr", "NanoDrr", "torch"),
}
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
)
REFUSED = 3


def main() -> int:
    """Read, render, write."""
    if sys.argv[1:] == ["--list"]:
        print("\n".join(ENGINES))
        return 0
    if len(sys.argv) != 4 or sys.argv[1] not in ENGINES:
        print(f"usage: run.py ENGINE REQUEST.npz ANSWER.npz, ENGINE one of {', '.join(ENGINES)}", file=sys.stderr)
        return 2
    engine = sys.argv[1]
    try:
        answer = render(engine, Request.load(Path(sys.argv[2])))
    except (Refused, ImportError) as reason:
        np.savez(sys.argv[3], engine=engine, reason=f"{type(reason).__name__}: {reason}")
        return REFUSED
    np.savez(sys.argv[3], engine=engine, reason="", **answer)
    return 0


def render(name: str, request: Request) -> dict[str, object]:
    """Prepare once, warm up once, then every view, all of them again for each repeat."""
    for variable in THREAD_VARIABLES:  # read by the engines when they are first imported
        os.environ[variable] = str(request.threads)
    module, kind, method = ENGINES[name]
    make = getattr(import_module(f"rivals.{module}"), kind)
    idle_mib = peak_mib()
    clock = time.perf_counter()
    engine = make(request, method)
    prepare_s = time.perf_counter() - clock
    clock = time.perf_counter()
    engine.render(request.views[0])
    warm_up_s = time.perf_counter() - clock
    frames = [[engine.render(view) for view in request.views] for _ in range(request.repeats)]
    command_mib = max(frame.process_mib for each in frames for frame in each)
    return {
        "images": np.stack([frame.image for frame in frames[-1]]),
        **{
            cost: np.array([[getattr(frame, cost) for frame in each] for each in frames]).T
            for cost in ("wall_s", "cpu_s", "process_s")
        },
        "prepare_s": prepare_s,
        "warm_up_s": warm_up_s,
        **(
            {"peak_mib": peak_mib(), "idle_mib": idle_mib}
            if np.isnan(command_mib)
            else {"peak_mib": command_mib, "idle_mib": 0.0}
        ),
        "version": engine.version,
        "method": engine.method,
        "threads": request.threads,
    }


if __name__ == "__main__":
    sys.exit(main())
