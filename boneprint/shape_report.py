"""How comparisons and estimates of surfaces are shown: JSON for programs, a few lines for people."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from boneprint.shape import Comparison
    from boneprint.shape_estimation import Estimate


def comparison_json(comparison: "Comparison") -> dict[str, Any]:
    """As the command line's contract has it; all in mm, relative ones as a share of the diagonal."""
    directions = {"a_to_b": comparison.a_to_b, "b_to_a": comparison.b_to_a}
    return {
        "rms_mm": comparison.rms_mm,
        "mean_mm": comparison.mean_mm,
        "assd_mm": comparison.assd_mm,
        "hd95_mm": comparison.hd95_mm,
        "hausdorff_mm": comparison.hausdorff_mm,
        "rms_relative": comparison.rms_mm / comparison.diagonal_mm,
        "hausdorff_relative": comparison.hausdorff_mm / comparison.diagonal_mm,
        "diagonal_mm": comparison.diagonal_mm,
        **{name: None if each is None else asdict(each) for name, each in directions.items()},
        "one_sided": comparison.fragment is not None,
        "fragment": comparison.fragment,
        "mirror": comparison.mirror,
        "motion": comparison.motion.tolist(),
        "sampling": {"points_on_each": comparison.samples, "seed": comparison.seed, "drawn": "evenly by area"},
        "notes": comparison.notes,
    }


def comparison_text(comparison: "Comparison") -> None:
    """The measures, mm and relative, and how they were taken."""
    diagonal = comparison.diagonal_mm
    rows = [
        ("RMS", comparison.rms_mm),
        ("mean", comparison.mean_mm),
        ("ASSD", comparison.assd_mm),
        ("HD95", comparison.hd95_mm),
        ("Hausdorff", comparison.hausdorff_mm),
    ]
    for name, value in rows:
        print(f"{name:<10}" + ("         -" if value is None else f"{value:>10.4f} mm {value / diagonal:>10.5f}"))
    print(f"relative to the diagonal of {diagonal:.1f} mm; {comparison.samples} points on each, evenly by area")
    for note in comparison.notes:
        print(note)


def estimate_json(estimate: "Estimate") -> dict[str, Any]:
    """As the command line's contract has it."""
    reference = estimate.nearest.reference
    return {
        "method": estimate.method,
        "nearest": {
            "bone_id": reference.bone_id,
            "subject_id": reference.subject_id,
            "laterality": reference.laterality,
            "distance": estimate.nearest.distance,
        },
        "vertices": len(estimate.surface.vertices),
        "diagonal_mm": estimate.surface.diagonal_mm,
        "modes": None if estimate.model is None else len(estimate.model.modes),
        "likeness": None if estimate.fit is None else list(estimate.fit.likeness),
        "views": None if estimate.fit is None else [asdict(view) for view in estimate.fit.views],
        "truth": None if estimate.truth is None else comparison_json(estimate.truth),
        "better_in_gallery": estimate.better,
        "gallery": estimate.gallery,
    }


def estimate_text(estimate: "Estimate") -> None:
    """Which bone it came from, and how good it is where that is known."""
    reference = estimate.nearest.reference
    side = f" {reference.laterality}" if reference.laterality else ""
    print(
        f"nearest: {reference.bone_id} {reference.subject_id} {reference.bone}{side}, {estimate.nearest.distance:.4f}"
    )
    if estimate.fit is not None and estimate.model is not None:
        likeness = ", ".join(f"{each:.2f}" for each in estimate.fit.likeness)
        print(f"shape model of {len(estimate.model.modes)} modes fitted; likeness of the pictures {likeness}")
    if estimate.truth is not None:
        comparison_text(estimate.truth)
        print(f"{estimate.better} of {estimate.gallery} enrolled bones match the truth better than this one")
