"""The store and the index: enrolled bones on disk, and which of them are nearest to a probe. numpy at the doors."""

from boneprint.index.check import Finding, check
from boneprint.index.gallery import Gallery
from boneprint.index.hits import Hits
from boneprint.index.search import search
from boneprint.index.store import Store
from boneprint.index.where import Condition, chosen, conditions

__all__ = ["Condition", "Finding", "Gallery", "Hits", "Store", "check", "chosen", "conditions", "search"]
