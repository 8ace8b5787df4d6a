"""Who is trained on: simulated people, families of siblings, and ends of long bones, counted out by kind."""

from dataclasses import dataclass

import numpy as np

from boneprint.errors import BoneprintError
from boneprint.simulate import BONES, HEALTHY, TRAINING, Body, Condition, family, individual

# How many of each kind there are for one femur. Lumps are no bones at all, and teach shape as such; pieces are the
# upper or lower ends of long bones.
PIECE = "piece"
CAT = "cat"  # a cat's femur, which goes with people's
LONG = ("femur", "tibia", "humerus", "radius", "ulna")
# What a network does with a kind that it was never shown is measured on these.
LEFT_OUT = ("ulna", "calcaneus")
TRAINED = (*(bone for bone in BONES if bone not in LEFT_OUT), PIECE)
SHARES = {
    "femur": 1.0,
    "tibia": 0.5,
    "humerus": 0.4,
    "radius": 0.3,
    "vertebra": 1.0,
    "hip": 1.0,
    "lump": 0.6,
    PIECE: 0.8,
}
_CATS = 0.3  # cats' femora for one human femur

# How much of a long bone a piece keeps; of more of it the pose would be a long bone's still.
_PIECE_CHANCES = (0.6, 0.2, 0.2)
_PIECES_OF = {"femur": (0.3, 0.42), "tibia": (0.2, 0.28), "humerus": (0.18, 0.25)}
# People are numbered from here where they are not those whose whole bones are trained on.
_CATS_FROM, _PIECES_FROM = 500_000, 700_000


def is_seen_on(kind: str, form: str | None) -> bool:
    """Whether a kind of bone is seen on canvases of a form, "tall" or "square": whole long bones stand on tall ones."""
    return form is None or (kind in (*LONG, CAT)) == (form == "tall")


@dataclass(frozen=True)
class Recipe:
    """How many bodies of which kinds; together with the seed it determines every miniature.

    ``people`` and ``families`` count femora; of other kinds there are `SHARES` of them. With two ``sessions`` each body
    is scanned again by another scanner, remodelled a little, and sometimes harmed.
    """

    seed: int = 1
    people: int = 160
    families: int = 60
    siblings: int = 4
    sessions: int = 2
    kinds: tuple[str, ...] = TRAINED
    cats: bool = True

    def __post_init__(self) -> None:
        if min(self.people, self.families) < 0 or self.people + self.families < 2 or self.siblings < 2:
            raise BoneprintError(
                f"training set of {self.people} people and {self.families} families of {self.siblings}: expected no "
                "negative number, at least two of both together, and two siblings."
            )
        if self.sessions not in (1, 2) or not self.kinds or not set(self.kinds) <= set(TRAINED):
            raise BoneprintError(
                f"training set of {', '.join(self.kinds) or 'no kind'} in {self.sessions} sessions: expected kinds "
                f"among {', '.join(TRAINED)}, and 1 or 2 sessions."
            )

    def taught(self, form: str | None) -> tuple[str, ...]:
        """The kinds that are seen on a form of canvas, cats' femora with people's."""
        cats = (CAT,) if self.cats and "femur" in self.kinds else ()
        return tuple(kind for kind in (*self.kinds, *cats) if is_seen_on(kind, form))

    def members(self) -> list["Member"]:
        """Every bone of the training set."""
        groups = [(kind, "human", SHARES[kind]) for kind in self.kinds]
        if self.cats and "femur" in self.kinds:
            groups.append(("femur", "cat", _CATS))
        listed: list[Member] = []
        families = 0
        for kind, species, share in groups:
            first = _PIECES_FROM if kind == PIECE else _CATS_FROM if species == "cat" else 0
            for index in range(first, first + round(share * self.people)):
                of, condition = piece(self.seed, index) if kind == PIECE else (kind, HEALTHY)
                body = individual(self.seed, index, bone=of, species=species, stream=TRAINING)
                listed.append(Member(body, kind, condition))
            for index in range(first, first + round(share * self.families)):
                of, condition = piece(self.seed, index) if kind == PIECE else (kind, HEALTHY)
                siblings = family(self.seed, index, self.siblings, bone=of, species=species)
                listed += [Member(body, kind, condition, families) for body in siblings]
                families += 1
        return listed


@dataclass(frozen=True)
class Member:
    """A bone to be trained on: what it counts as, what is left of it, and the number of its family (-1 without)."""

    body: Body
    kind: str
    condition: Condition = HEALTHY
    family: int = -1


def piece(seed: int, index: int) -> tuple[str, Condition]:
    """A long bone, and which end of it is left."""
    rng = np.random.default_rng((seed, index))
    of = str(rng.choice(list(_PIECES_OF), p=_PIECE_CHANCES))
    gone = 1 - float(rng.uniform(*_PIECES_OF[of]))
    upper = rng.random() < 0.5
    condition = Condition(missing_below=gone if upper else 0.0, missing_above=0.0 if upper else gone, seed=index)
    return of, condition
