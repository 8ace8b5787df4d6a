"""What every benchmark says beside its figures: machine, commit, versions; and where the JSON goes."""

import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


def circumstances() -> dict[str, object]:
    """Machine, commit and versions of this run."""
    return {
        "date": datetime.now(tz=UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "gpu": _gpu(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in ("boneprint", "torch", "numpy", "scipy", "hnswlib", "h5py")},
    }


def heading() -> str:
    """One line for people: commit, machine, date."""
    about = circumstances()
    return f"commit {about['commit']}, {about['cores']} x {about['processor']}, {about['date']}"


def write(name: str, result: dict[str, object], folder: Path = RESULTS) -> Path:
    """Write NAME.json with the circumstances, and say where."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps({"circumstances": circumstances(), **result}, indent=1) + "\n")
    print(f"written: {path}")
    return path


@cache  # of the code that began to run, whatever is edited meanwhile
def _commit() -> str:
    asked = ["git", "describe", "--always", "--dirty"]
    try:
        said = subprocess.run(asked, cwd=Path(__file__).parents[1], capture_output=True, text=True)
    except FileNotFoundError:  # a machine without git
        return "unknown"
    return said.stdout.strip() or "unknown"


def _gpu() -> str | None:
    import torch  # some benchmarks do without

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:  # not installed: a part of the project can run without it
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown"
