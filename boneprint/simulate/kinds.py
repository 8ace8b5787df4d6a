"""The kinds of bone that can be simulated, by name. The order is part of the seeds: new kinds go to the end."""

from boneprint.simulate.calcaneus import CALCANEUS
from boneprint.simulate.femur import FEMUR
from boneprint.simulate.hip import HIP
from boneprint.simulate.humerus import HUMERUS
from boneprint.simulate.kind import Kind
from boneprint.simulate.lump import LUMP
from boneprint.simulate.radius import RADIUS
from boneprint.simulate.tibia import TIBIA
from boneprint.simulate.ulna import ULNA
from boneprint.simulate.vertebra import VERTEBRA

KINDS: dict[str, Kind] = {
    kind.name: kind for kind in (FEMUR, TIBIA, HUMERUS, RADIUS, VERTEBRA, HIP, LUMP, ULNA, CALCANEUS)
}
