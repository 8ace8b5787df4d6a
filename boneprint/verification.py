"""Two radiographs compared, without a database."""

from pathlib import Path

from boneprint import embed, evidence, probe
from boneprint.nouns import Verification


def verify(
    first: probe.Xray,
    second: probe.Xray,
    *,
    bone: str | None = None,
    pixel_spacing_mm: float | None = None,
    weights: str | Path | None = None,
) -> Verification:
    """Whether two radiographs show the same bone: margin verdict and likelihood ratio.

    Parameters
    ----------
    first, second : paths, Radiographs, arrays or tensors, seen from about the same side
    bone : the kind of bone that they show, e.g. "femur"; without it the margin is the strictest of all kinds, and there
        is no likelihood ratio
    pixel_spacing_mm : mm per pixel in the plane of the bone, for both; goes before what the files say

    Raises
    ------
    ReadError
        If either cannot be read or has no pixel spacing.
    """
    pair = [probe.as_radiograph(xray, pixel_spacing_mm=pixel_spacing_mm) for xray in (first, second)]
    embedder = embed.load_embedder(Path(weights) if weights else embed.SHIPPED)
    canvas = probe.canvas_of_pairs(pair, bone, embedder)
    vectors = embedder.embed(pair, canvas)
    # What is larger than every canvas lands on the largest, where femora were calibrated; it shows none.
    held = all(probe.can_hold(canvas.height_mm, probe.content_mm(radiograph)[0]) for radiograph in pair)
    judged = evidence.rule(evidence.of_card(embedder.card), evidence.PAIR, bone, canvas.height_mm, exact=held)
    return evidence.verdict(vectors[0], vectors[1], judged)
