"""Search with a bone seen from all sides: each view that a bone was enrolled by is looked for among the probe's."""

import numpy as np

from boneprint.index.exact import FloatArray, IntArray
from boneprint.index.hits import Hits
from boneprint.index.rows import Rows


def search_all_round(rows: Rows, probes: FloatArray, k: int, bones: IntArray) -> Hits:
    """The k nearest of ``bones`` to a CT, exactly; roles are exchanged.

    A radiograph is near a bone if one of the bone's views is near it. So a CT is near an enrolled radiograph if one of
    the CT's views is; a bone enrolled by several views is as far as the root mean square of theirs.

    Parameters
    ----------
    rows : the views of all enrolled bones
    probes : (P, D) float32, unit rows, views of the probe from all sides
    k : at most this many are returned
    bones : (B,) int64; which bones to look at

    Returns
    -------
    Hits
        min(k, B) bones; ``nearest_views`` is (k, 1), the enrolled view that is nearest to any of the probe's.
    """
    fused = np.empty(len(bones))
    nearest = np.empty((len(bones), 1), dtype=np.int64)
    for place, bone in enumerate(bones.tolist()):
        products = (rows.of(bone).astype(np.float32, copy=False) @ probes.T).max(axis=1)
        fused[place] = np.maximum(2 - 2 * products.astype(np.float64), 0).mean()
        nearest[place] = rows.begins[bone] + int(products.argmax())
    best = np.lexsort((bones, fused))[:k]
    return Hits(bones[best], np.sqrt(fused[best]).astype(np.float32), nearest[best], proved_to=np.inf)
