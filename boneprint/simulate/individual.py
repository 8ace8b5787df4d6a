"""Who is simulated: individuals, and families of siblings for hard negatives, all from seeds.

The streams of a seed never meet: a body's entropy is (seed, stream, number), where cohorts are stream 0, training is 1
and calibration 2. A bone of a cohort is therefore in no training or calibration set, whatever seed the user types.
"""

from typing import Final

import numpy as np

from boneprint.errors import BoneprintError
from boneprint.simulate.body import Body
from boneprint.simulate.kinds import KINDS
from boneprint.simulate.shape import Shape

SPECIES: Final = ("human", "cat")
BONES: Final = tuple(KINDS)
COHORT, TRAINING, CALIBRATION = 0, 1, 2

_FAMILIES = 1_000_000  # individuals of a stream are numbered below, families from here on
_SIDE_KEYS = {"R": 5, "L": 6, None: 5}  # spawn keys beside those of boneprint.simulate.atlas

# How far one side strays from what both share, in standard deviations between people: little in length, more in
# proportions (femoral version of the two sides differs by 4.3 degrees, Dimitriou 2016). Fitted with the sides' warp.
_SIDE_SPREAD, _SIDE_SIZE_SPREAD = 0.28, 0.06


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

    Parameters
    ----------
    laterality : "L" or "R"; None draws it. The two of one person are near-mirror images. Bones that have no side take
        no notice of it.

    Raises
    ------
    BoneprintError
        For a bone or species that cannot be simulated, a seed outside 0 to 2**32 - 1, or a number outside 0 to 999,999.
    """
    _check(seed, index, bone, species)
    kind = KINDS[bone]
    entropy = (seed, stream, index) if bone == "femur" else (seed, stream, index, BONES.index(bone))
    rng = np.random.default_rng(np.random.SeedSequence(entropy))
    both = Shape.sample(rng, kind.numbers[species])
    drawn = "R" if rng.random() < 0.5 else "L"
    side = (laterality or drawn) if kind.paired else None
    own = np.random.default_rng(np.random.SeedSequence(entropy, spawn_key=(_SIDE_KEYS[side],)))
    shape = Shape.sample(own, kind.numbers[species], around=both, spread=_SIDE_SPREAD, size_spread=_SIDE_SIZE_SPREAD)
    name = "SIM" if species == "human" else f"SIM-{species.upper()}"
    return Body(f"{name}-{seed}-{index:04d}", species, side, shape, entropy, bone)


def family(seed: int, index: int, members: int, *, bone: str = "femur", species: str = "human") -> list[Body]:
    """Siblings: one strongly varied body, and members that differ from it only a little.

    They are the hard negatives of training. The shared body strays 1.8 times as far as people do, members 0.35 times;
    half of the families are upside down, so that shape is learnt as such and not a place in the picture.

    Raises
    ------
    BoneprintError
        As ``individual``.
    """
    _check(seed, index, bone, species)
    kind = KINDS[bone]
    own = () if bone == "femur" else (BONES.index(bone),)
    rng = np.random.default_rng(np.random.SeedSequence((seed, TRAINING, _FAMILIES + index, *own)))
    shared = Shape.sample(rng, kind.numbers[species], spread=1.8)
    side = "R" if rng.random() < 0.5 else "L"
    upside_down = bool(rng.random() < 0.5)
    bodies = []
    for member in range(members):
        shape = Shape.sample(rng, kind.numbers[species], around=shared, spread=0.35)
        entropy = (seed, TRAINING, _FAMILIES + index, *own, member)
        name = f"FAM-{seed}-{index:04d}-{member}"
        bodies.append(Body(name, species, side if kind.paired else None, shape, entropy, bone, upside_down))
    return bodies


def _check(seed: int, index: int, bone: str, species: str) -> None:
    # NumPy cuts a larger number into words of 32 bits, and the second would be taken for the stream.
    if not 0 <= seed < 2**32:
        raise BoneprintError(f"seed {seed}, expected a whole number from 0 to {2**32 - 1}.")
    if not 0 <= index < _FAMILIES:
        raise BoneprintError(f"person or family {index}, expected a number from 0 to {_FAMILIES - 1}.")
    if bone not in BONES:
        raise BoneprintError(f"bone '{bone}' cannot be simulated; choose one of: {', '.join(BONES)}.")
    if species not in SPECIES:
        raise BoneprintError(f"species '{species}' cannot be simulated; choose one of: {', '.join(SPECIES)}.")
    if species not in KINDS[bone].numbers:
        able = ", ".join(KINDS[bone].numbers)
        raise BoneprintError(f"a {species}'s {bone} cannot be simulated; choose one of: {able}.")
