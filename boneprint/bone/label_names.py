"""What the name of a label says: bone or not, which bone, which side.

A name is split into words at anything that is no letter or digit. It names a bone if one of its words does, and none
says that it is something else on or near that bone (``iliac_artery_left``, ``costal_cartilages``). This covers the
class names of TotalSegmentator, and plain ones such as "Left femur".
"""

import re

_BONE = re.compile(
    "skull|cranium|mandible|maxilla|teeth|tooth|hyoid|spine|vertebrae?|sacrum|coccyx|ribs?|sternum|manubrium"
    "|clavicle|clavicula|scapula|humerus|radius|ulna|carpals?|metacarpals?|phalan(x|ges)"
    "|scaphoid|lunate|triquetrum|pisiform|trapezi(um|oid)|capitate|hamate"
    "|hip|pelvis|ilium|ischium|pubis|femur|patella|tibia|fibula|tarsals?|metatarsals?"
    "|talus|calcaneus|navicular|cuboid|cuneiform|bones?"
)
_NO_BONE = re.compile(
    "arter(y|ies)|veins?|vena|vessels?|muscles?|nerves?|cord|canal|cartilages?|discs?|ligaments?|tendons?|marrow"
    "|gland|fat|background"
)
# [ctls]spine are DICOM's body parts (PS3.16, annex L). A mandible or a pelvis may come in halves, which have sides.
_UNPAIRED = re.compile("skull|cranium|hyoid|[ctls]?spine|vertebrae?|sacrum|coccyx|sternum|manubrium")
_LEFT = frozenset({"left", "l", "lt"})
_RIGHT = frozenset({"right", "r", "rt"})


def is_bone(name: str) -> bool:
    """Whether a label of this name is a bone."""
    words = _words(name)
    return any(map(_BONE.fullmatch, words)) and not any(map(_NO_BONE.fullmatch, words))


def has_side(name: str) -> bool:
    """Whether what bears this name may be a left or a right one: not a vertebra, nor a sacrum, skull or breastbone.

    The spine of a scapula is one of these no more than the scapula.
    """
    bones = [word for word in _words(name) if _BONE.fullmatch(word) or _UNPAIRED.fullmatch(word)]
    named = set(bones) - {"bone", "bones"}
    return not named or not all(map(_UNPAIRED.fullmatch, named))


def is_dental(name: str) -> bool:
    """Whether what bears this name may hold teeth: their enamel is denser than any bone."""
    return not {"teeth", "tooth", "mandible", "maxilla", "skull", "head"}.isdisjoint(_words(name))


def bone_and_side(name: str) -> tuple[str, str | None]:
    """Bone kind and laterality of a label's name: "rib_left_4" gives ("rib_4", "L"), "Left femur" ("femur", "L")."""
    words = _words(name)
    left, right = not _LEFT.isdisjoint(words), not _RIGHT.isdisjoint(words)
    bone = "_".join(word for word in words if word not in _LEFT | _RIGHT)
    return bone or name, None if left == right else "L" if left else "R"


def _words(name: str) -> list[str]:
    return [word for word in re.split(r"[^a-z0-9]+", name.lower()) if word]
