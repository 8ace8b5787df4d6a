"""Embedding throughput of boneprint's network against S1's VGG-16, in the same run.

    python benchmarks/embedding.py [--threads 2] [--seconds 5] [--weights NAME]

Pictures are the AP and ML halves of S1's images of a simulated cat, 400 x 800 pixels. Measured are images per second of
`Embedder.embed_views` and `Embedder.embed` (picture to fingerprint, with preprocessing); of the network alone on
preprocessed pictures, with the glances of each of them (views of an enrolled bone are many, and looked at less often
than radiographs: the bar is for views), on a tall canvas and, by the other branch of
the network, on a square one; and of VGG-16 with S1's reduction to 128 dimensions at 224 x 224 (what it was made
for) and at 800 x 800 (the size of S1's joined images, which hold two views each). Every network runs in the same
precision; best batch of those tried.
"""

import argparse
import itertools
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import report
import s1_pictures
import torch

from boneprint import bone, drr
from boneprint.drr import s1
from boneprint.embed import SHIPPED, embedder_id, load_embedder, weights
from boneprint.embed.finder import GLANCES, VIEW_GLANCES, Glance
from boneprint.embed.preprocess import preprocess
from boneprint.embed.published import network
from boneprint.nouns import Canvas, Radiograph
from boneprint.simulate import Scanner, individual

BAR = 20.0
# The form that vertebrae and hip bones are seen on.
SQUARE = Canvas(s1_pictures.CANVAS.height_mm, s1_pictures.CANVAS.height_mm)
RADIOGRAPHS = 64
BATCHES = {"cpu": (1, 8, 32), "cuda": (64, 256, 1024)}
VGG_PIXELS = (224, 800)


def radiographs(seed: int) -> list[Radiograph]:
    """AP and ML of one simulated cat from several directions, 400 x 800 pixels each."""
    volume, _ = individual(seed, 0, species="cat").scan(Scanner.usual("cat"))
    upright, _ = bone.stand_up(bone.isolate(volume), float(min(volume.spacing_mm)))
    images = s1.joined_images(drr.Absorber.of(drr.own_axes(upright)), s1_pictures.CANVAS)
    return [
        Radiograph(half, s1.pitch_mm(s1_pictures.CANVAS))
        for pose in itertools.islice(images, RADIOGRAPHS // 8)
        for picture in pose.pictures
        for half in (picture[:, : s1.COLUMNS], picture[:, s1.COLUMNS :])
    ]


def speed(call: Callable[[], object], images: int, device: torch.device, seconds: float) -> float:
    """Images per second: median over as many calls as fit into ``seconds``, at least three, after a warm-up."""

    def once() -> float:
        begun = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - begun

    once()
    spent: list[float] = []
    while len(spent) < 3 or sum(spent) < seconds:
        spent.append(once())
    return images / median(spent)


@torch.inference_mode()
def alone(
    made: torch.nn.Module,
    picture: torch.Tensor,
    device: torch.device,
    precision: torch.dtype,
    seconds: float,
    *glances: Sequence[Glance],
) -> dict[str, float]:
    """A network by itself on copies of one (C, H, W) picture that are on the device: the best batch and its speed."""
    made = weights.ready(made.eval(), device)
    found: dict[str, float] = {}
    for size in BATCHES[device.type]:
        if found and size / found["images_per_s"] > seconds:
            break  # one call would take longer than the whole measurement shall
        batch = picture.to(device).expand(size, *picture.shape).contiguous()
        with torch.autocast(device.type, precision, enabled=precision != torch.float32):
            per_second = speed(lambda: made(batch, *glances), size, device, seconds)  # noqa: B023
        if per_second > found.get("images_per_s", 0):
            found = {"images_per_s": per_second, "batch": size}
    return found


def measure(device: torch.device, precision: torch.dtype, given: argparse.Namespace) -> dict[str, object]:
    """Ours and VGG-16 on one device in one precision."""
    pictures = radiographs(given.seed)
    ours, _ = weights.load(given.weights)
    vgg = network("vgg16", dimension=128, channels=1)
    found: dict[str, object] = {}
    for form, canvas in (("", s1_pictures.CANVAS), (", square", SQUARE)):
        ready = preprocess(pictures[:1], canvas)[0]
        for what, glances in (("views", VIEW_GLANCES), ("radiographs", GLANCES)):
            found[f"ours alone, {what}{form}"] = alone(ours, ready, device, precision, given.seconds, glances)
    if precision == torch.float32 and device.type == ("cuda" if torch.cuda.is_available() else "cpu"):
        embedder = load_embedder(given.weights)
        for way in (embedder.embed_views, embedder.embed):
            per_second = speed(lambda: way(pictures, s1_pictures.CANVAS), len(pictures), device, given.seconds)  # noqa: B023
            found[f"Embedder.{way.__name__}"] = {"images_per_s": per_second, "batch": len(pictures)}
    for pixels in VGG_PIXELS:
        name = f"VGG-16 at {pixels} x {pixels}"
        found[name] = alone(vgg, torch.rand(1, pixels, pixels), device, precision, given.seconds)
    rate = {name: each["images_per_s"] for name, each in found.items()}  # type: ignore[index]
    small, large = (rate[f"VGG-16 at {pixels} x {pixels}"] for pixels in VGG_PIXELS)
    ratio, square = (rate[f"ours alone, views{form}"] / small for form in ("", ", square"))
    return {
        "networks": found,
        "times_vgg_224": ratio,
        "times_vgg_224_square": square,
        "times_vgg_224_radiographs": rate["ours alone, radiographs"] / small,
        "times_vgg_224_with_preprocessing": {
            name: each / small for name, each in rate.items() if name.startswith("Embedder.")
        },
        # One joined picture of S1 is two of ours.
        "times_vgg_800_by_pairs": rate["ours alone, views"] / 2 / large,
        "times_vgg_800_by_pairs_square": rate["ours alone, views, square"] / 2 / large,
        "bar": f">= {BAR:g} times VGG-16 at 224 x 224, on either canvas",
        "met": min(ratio, square) >= BAR,
    }


def main() -> None:
    """Measure on the CPU, and on a GPU where there is one; print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--seconds", type=float, default=5.0, help="for each network and batch")
    parser.add_argument("--weights", type=Path, default=SHIPPED)
    parser.add_argument("--seed", type=int, default=1, help="of the cat")
    parser.add_argument("--out", type=Path, default=report.RESULTS, help="folder of the JSON")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    runs = {"cpu float32": (torch.device("cpu"), torch.float32)}
    if torch.cuda.is_available():
        runs["cuda float32"] = (torch.device("cuda"), torch.float32)
        runs["cuda bfloat16"] = (torch.device("cuda"), torch.bfloat16)
    print(f"{report.heading()}, {given.threads} threads, seed {given.seed}")
    results: dict[str, object] = {}
    for name, (device, precision) in runs.items():
        results[name] = found = measure(device, precision, given)
        print(name)
        for what, each in found["networks"].items():  # type: ignore[attr-defined]
            print(f"  {what:32}{each['images_per_s']:12.1f} images/s, batches of {each['batch']}")
        print(
            f"  {'met' if found['met'] else 'MISSED'}: {found['times_vgg_224']:.1f} times VGG-16 at 224 x 224 "
            f"(bar {BAR:g}), {found['times_vgg_224_square']:.1f} on square canvases, "
            f"{found['times_vgg_224_radiographs']:.1f} as radiographs; "
            f"{found['times_vgg_800_by_pairs']:.1f} and {found['times_vgg_800_by_pairs_square']:.1f} times by pairs at "
            "800 x 800, the size of S1's images"
        )
    report.write(
        "embedding",
        {"threads": given.threads, "embedder": embedder_id(weights.read_card(given.weights)), "runs": results},
        given.out,
    )


if __name__ == "__main__":
    main()
