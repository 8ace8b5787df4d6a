"""Who is simulated: individuals, and families of siblings for hard negatives, all from seeds.

Streams of one user seed never meet: cohorts draw from spawn key 0, training from 1, calibration from 2. A bone of a
cohort is therefore in no training or calibration set, whatever seed the user types.
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
        For a bone or species that cannot be simulated.
    """
    _check(bone, species)
    entropy = (seed, stream, index)
    rng = np.random.default_rng(np.random.SeedSequence(entropy))
    shape = FemurShape.sample(rng, species)
    side = laterality or ("R" if rng.random() < 0.5 else "L")
    return Body(f"SIM-{seed}-{index:04d}", species, side, shape, entropy, bone)


def family(seed: int, index: int, members: int, *, species: str = "human") -> list[Body]:
    """Siblings: one strongly varied body, and members that differ from it only a little.

    They are the hard negatives of training. The shared body strays 1.8 times as far as people do, members 0.35 times;
    half of the families are upside down, so that shape is learnt as such and not a place in the picture.
    """
    _check("femur", species)
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


def _check(bone: str, species: str) -> None:
    if bone not in BONES:
        raise BoneprintError(f"bone '{bone}' cannot be simulated; choose one of: {', '.join(BONES)}.")
    if species not in SPECIES:
        raise BoneprintError(f"species '{species}' cannot be simulated; choose one of: {', '.join(SPECIES)}.")
