"""Who is simulated: individuals, and families of siblings for hard negatives, all from seeds.

The streams of a seed never meet: a body's entropy is (seed, stream, number), where cohorts are stream 0, training is 1
and calibration 2. A bone of a cohort is therefore in no training or calibration set, whatever seed the user types.
"""

from typing import Final

import numpy as np

from boneprint.errors import BoneprintError
from boneprint.simulate.body import Body
from boneprint.simulate.femur import FemurShape

SPECIES: Final = ("human", "cat")
BONES: Final = ("femur",)
COHORT, TRAINING, CALIBRATION = 0, 1, 2


def individual(
    seed: int,
    index: int,
    *,
    bone: str = "femur",
    species: str = "human",
    laterality: str | None = None,
    stream: int = COHORT,
) -> Body:
    """Person number ``index`` of a cohort: the same one for the same seed, another one for another.

    Raises
    ------
    BoneprintError
        For a bone or species that cannot be simulated, or a seed outside 0 to 2**32 - 1.
    """
    _check(seed, bone, species)
    entropy = (seed, stream, index)
    rng = np.random.default_rng(np.random.SeedSequence(entropy))
    shape = FemurShape.sample(rng, species)
    side = laterality or ("R" if rng.random() < 0.5 else "L")
    kind = "SIM" if species == "human" else f"SIM-{species.upper()}"
    return Body(f"{kind}-{seed}-{index:04d}", species, side, shape, entropy, bone)


def family(seed: int, index: int, members: int, *, species: str = "human") -> list[Body]:
    """Siblings: one strongly varied body, and members that differ from it only a little.

    They are the hard negatives of training. The shared body strays 1.8 times as far as people do, members 0.35 times;
    half of the families are upside down, so that shape is learnt as such and not a place in the picture.
    """
    _check(seed, "femur", species)
    rng = np.random.default_rng(np.random.SeedSequence((seed, TRAINING, 1_000_000 + index)))
    shared = FemurShape.sample(rng, species, spread=1.8)
    side = "R" if rng.random() < 0.5 else "L"
    upside_down = bool(rng.random() < 0.5)
    bodies = []
    for member in range(members):
        shape = FemurShape.sample(rng, species, around=shared, spread=0.35)
        entropy = (seed, TRAINING, 1_000_000 + index, member)
        name = f"FAM-{seed}-{index:04d}-{member}"
        bodies.append(Body(name, species, side, shape, entropy, upside_down=upside_down))
    return bodies


def _check(seed: int, bone: str, species: str) -> None:
    # NumPy cuts a larger number into words of 32 bits, and the second would be taken for the stream.
    if not 0 <= seed < 2**32:
        raise BoneprintError(f"seed {seed}, expected a whole number from 0 to {2**32 - 1}.")
    if bone not in BONES:
        raise BoneprintError(f"bone '{bone}' cannot be simulated; choose one of: {', '.join(BONES)}.")
    if species not in SPECIES:
        raise BoneprintError(f"species '{species}' cannot be simulated; choose one of: {', '.join(SPECIES)}.")
