"""What every benchmark says beside its figures: machine, commit, versions; and where the JSON goes."""

import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


def circumstances() -> dict[str, object]:
    """Machine, commit and versions of this run."""
    root = Path(__file__).parents[1]
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=root, capture_output=True, text=True)
    return {
        "date": datetime.now(tz=UTC).isoformat(timespec="seconds"),
        "commit": commit.stdout.strip() or "unknown",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("boneprint", "torch", "numpy", "scipy", "hnswlib", "h5py")},
    }


def heading() -> str:
    """One line for people: commit, machine, date."""
    about = circumstances()
    return f"commit {about['commit']}, {about['cores']} x {about['processor']}, {about['date']}"


def write(name: str, result: dict[str, object]) -> Path:
    """Write NAME.json with the circumstances, and say where."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"circumstances": circumstances(), **result}, indent=1) + "\n")
    print(f"written: {path}")
    return path


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown"
