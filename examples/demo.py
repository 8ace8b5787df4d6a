"""The main job, from CT folder to candidate list, with the commands a user would type. Usage: demo.py [FOLDER]."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

PEOPLE, SEED = 20, 2026
UNKNOWN, OTHER = 7, 12  # whose radiographs are "found"; numbers in the cohort


def main() -> None:
    """Run the demo."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "demo-out")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    started = time.perf_counter()
    cohort, store = folder / "cohort", folder / "bones.h5"

    say(f"1. Simulate {PEOPLE} people: a DICOM CT of one femur each, with soft tissue, and the true surface as STL.")
    run("simulate", cohort, "-n", PEOPLE, "--seed", SEED)

    say("2. Ingest the CTs: isolate each bone, bring it upright, render 36 views, fingerprint them, store them.")
    run("ingest", cohort, "--db", store)

    say(
        "3. Someone finds a bone. Three radiographs of it are taken, and one of another person, each in a pose, "
        "exposure and noise that the database does not hold."
    )
    members = json.loads((cohort / "cohort.json").read_text())["members"]
    unknown, other = cohort / members[UNKNOWN]["ct"], cohort / members[OTHER]["ct"]
    frontal = radiograph(unknown, folder / "unknown-ap", angle=-8, in_plane=6, seed=1)
    lateral = radiograph(unknown, folder / "unknown-ml", angle=97, in_plane=-5, seed=2)
    again = radiograph(unknown, folder / "unknown-ap-again", angle=3, in_plane=-4, seed=3)
    stranger = radiograph(other, folder / "stranger-ap", angle=5, in_plane=3, seed=4)

    say("4. Which bone in our database is this? Search with the frontal and the lateral radiograph together.")
    picture = folder / "candidates.png"
    run("search", frontal, lateral, "--db", store, "-k", 5, "--picture", picture)
    say("5. Lay the candidates over the radiographs: which bone's edges lie on those of the pictures?")
    found = run("search", frontal, lateral, "--db", store, "-k", 5, "--superimpose", 5, "--json", quiet=True)
    candidate = json.loads(found)["candidates"][0]
    first, overlay = candidate["subject_id"], folder / "superimposed.png"
    run("superimpose", frontal, lateral, "--candidate", candidate["bone_id"], "--db", store, "-o", overlay)

    say("6. Are these two radiographs of the same bone? First two of the unknown, then the unknown and the stranger.")
    run("verify", frontal, again, "--bone", "femur", answers=(0, 1))
    run("verify", frontal, stranger, "--bone", "femur", answers=(0, 1))

    truth = members[UNKNOWN]["subject_id"]
    say(
        f"The bone is {truth}; candidate 1 is {first}. The pictures are {picture} and {overlay}. "
        f"All of it took {time.perf_counter() - started:.0f} s."
    )
    if first != truth:
        sys.exit("demo: candidate 1 is not the unknown")


def radiograph(ct: Path, out: Path, *, angle: float, in_plane: float, seed: int) -> Path:
    """Take one natural-looking radiograph with `boneprint drr --protocol natural`, and name it after its folder."""
    pose = ("--angle", angle, "--in-plane", in_plane, "--tilt", 2, -1, "--seed", seed)
    run("drr", ct, "-o", out, "--protocol", "natural", *pose)
    (written,) = out.glob("*.png")
    named = written.replace(out.with_suffix(".png"))
    out.rmdir()
    return named


def run(*arguments: object, quiet: bool = False, answers: tuple[int, ...] = (0,)) -> str:
    """Show a command, run it, and hand back what it printed; any exit code but an answer ends the demo."""
    words = [str(argument) for argument in arguments]
    if not quiet:
        print(f"\n$ boneprint {' '.join(words)}", flush=True)
    command = [str(Path(sys.executable).with_name("boneprint")), *words]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if not quiet:
        print(done.stdout, end="", flush=True)
    if done.returncode not in answers:
        sys.exit(f"demo: `boneprint {words[0]}` exited with {done.returncode}")
    return done.stdout


def say(text: str) -> None:
    """Explain in plain words what comes next."""
    print(f"\n{text}", flush=True)


if __name__ == "__main__":
    main()
