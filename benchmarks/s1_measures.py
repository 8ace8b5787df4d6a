"""What S1 measured of fingerprints: pairwise accuracy by stratum, kNN and SVM, triplet accuracy.

Fingerprints are unit rows (B, M, D) of B bones, all seen in the same M poses; distances are squared, as in S1's loss.
Two views of a bone are one fingerprint here, put end to end and divided by the root of two: its squared distance is the
mean of theirs, which is how boneprint fuses two radiographs.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC

from boneprint.embed.losses import triplet_accuracy
from boneprint.evidence.metrics import bootstrap, share_interval, with_rule_of_three

BoolArray = NDArray[np.bool_]

_BINS = 8000  # of the squared distance, which ends at 4: steps of 0.0005, a two-hundredth of S1's margin
_NEIGHBOURS = 5

# S1's strata and its pairwise accuracy in per cent (FIELD 1). Angles are read as bounds on both pictures of a pair,
# counted from AP: S1 rendered -21 to +21 degrees, and its widest stratum says 22.
STRATA = {
    "4 deg, 146-158 keV": (4, 4, 146.0, "100.00"),
    "4 deg": (4, 4, 0.0, "99.99"),
    "7 deg": (7, 7, 0.0, "99.79"),
    "22 deg about the axis, 4 in the plane": (22, 4, 0.0, "99.22-99.51"),
    "4 deg about the axis, 22 in the plane": (4, 22, 0.0, "99.22-99.51"),
    "all": (22, 22, 0.0, "95.75"),
}


def members(table: NDArray[np.float64]) -> dict[str, BoolArray]:
    """(M,) for each stratum: which poses belong to it. ``table`` is (M, 3): axis and plane in degrees, keV."""
    axis, plane, kev = np.abs(table).T
    return {name: (axis <= a) & (plane <= p) & (kev >= least) for name, (a, p, least, _) in STRATA.items()}


def fused(views: Sequence[torch.Tensor]) -> torch.Tensor:
    """Several fingerprints of one bone, (..., D) each, as one unit row."""
    return torch.cat(list(views), dim=-1) / len(views) ** 0.5


def thresholds(vectors: torch.Tensor) -> dict[str, float]:
    """Squared distances fixed on these bones: of fewest errors (mean of FMR and FNMR), and of FMR 1e-3."""
    counts = torch.zeros(2, _BINS, dtype=torch.int64, device=vectors.device)
    for number, distance in enumerate(_rows(vectors)):
        bins = (distance * (_BINS / 4)).long().clamp(max=_BINS - 1)
        own = bins[:, number][bins[:, number] >= 0]
        everyone = torch.bincount(bins[bins >= 0], minlength=_BINS)
        genuine = torch.bincount(own, minlength=_BINS)
        counts += torch.stack([genuine, everyone - genuine])
    genuine, impostor = counts.cpu().numpy().cumsum(axis=1)
    missed, false = 1 - genuine / genuine[-1], impostor / impostor[-1]
    best = np.flatnonzero(missed + false == (missed + false).min())
    within = np.flatnonzero(false <= 1e-3)
    # Where nothing goes wrong over a range, its middle; a threshold is the upper end of its bin.
    return {
        "fewest errors": float((best[len(best) // 2] + 1) * 4 / _BINS),
        "FMR 1e-3": float((within[-1] + 1 if len(within) else 0) * 4 / _BINS),
    }


def pairwise(
    vectors: torch.Tensor, table: NDArray[np.float64], at: dict[str, float], *, seed: int
) -> dict[str, object]:
    """Every pair of pictures in each of S1's strata: of one bone, or of two?

    Returns
    -------
    stratum -> threshold's name -> accuracy over all pairs (as S1), mean of both accuracies (so that it does not hang on
    how many bones there are), FMR and FNMR; intervals of 95 % bootstrapped over bones
    """
    found: dict[str, object] = {}
    for name, chosen in members(table).items():
        part = vectors[:, torch.from_numpy(np.flatnonzero(chosen)).to(vectors.device)]
        matched = _matched(part, list(at.values()))
        count = part.shape[1]
        found[name] = {"pictures_each": count} | {kind: _rates(each, count, seed) for kind, each in zip(at, matched)}
    return found


def _rows(vectors: torch.Tensor) -> Iterator[torch.Tensor]:
    """For each bone the squared distances of its pictures to all, (M, B, M); -1 for a picture to itself."""
    bones, count, _ = vectors.shape
    everyone = vectors.flatten(0, 1)
    place = torch.arange(count, device=vectors.device)
    for number in range(bones):
        distance = (2 - 2 * (vectors[number] @ everyone.T)).clamp_(min=0).view(count, bones, count)
        distance[place, number, place] = -1
        yield distance


def _matched(vectors: torch.Tensor, at: list[float]) -> NDArray[np.int64]:
    """(T, B, B): how many pairs of pictures of two bones are at most so far apart; a picture is no pair with itself."""
    counts = [
        torch.stack([((distance <= limit) & (distance >= 0)).sum(dim=(0, 2)) for limit in at])
        for distance in _rows(vectors)
    ]
    return torch.stack(counts, dim=1).cpu().numpy()


def _rates(matched: NDArray[np.int64], count: int, seed: int) -> dict[str, object]:
    """Error rates from (B, B) numbers of matched pairs, ``count`` pictures each."""
    bones = len(matched)
    own = matched.diagonal()
    strange = matched - np.diag(own)

    def rates(times: NDArray[np.int64]) -> list[float]:
        weight = np.outer(times, times) - np.diag(times**2)
        genuine, impostor = times.sum() * count * (count - 1), weight.sum() * count**2
        missed = genuine - float(times @ own)
        false = float((weight * strange).sum())
        if not genuine or not impostor:
            return [np.nan] * 4
        fnmr, fmr = missed / genuine, false / impostor
        return [(missed + false) / (genuine + impostor), (fmr + fnmr) / 2, fmr, fnmr]

    values = rates(np.ones(bones, dtype=np.int64))
    low, high = bootstrap(bones, rates, seed=seed, draws=1000)
    error, halves, fmr, fnmr = ((value, with_rule_of_three(a, b, bones)) for value, a, b in zip(values, low, high))
    return {
        "accuracy": 1 - error[0],
        "accuracy_interval": [1 - error[1][1], 1 - error[1][0]],
        "balanced_accuracy": 1 - halves[0],
        "balanced_accuracy_interval": [1 - halves[1][1], 1 - halves[1][0]],
        "fmr": fmr[0],
        "fmr_interval": fmr[1],
        "fnmr": fnmr[0],
        "fnmr_interval": fnmr[1],
    }


def identity(vectors: torch.Tensor, table: NDArray[np.float64], *, seed: int) -> dict[str, object]:
    """Which of these bones is it? kNN and SVM learn a quarter of each bone's pictures and name the others.

    ``one_picture`` is harsher than S1: each bone is known by a single picture, the one nearest to AP without rotation.
    """
    bones, count, _ = vectors.shape
    rows = vectors.cpu().numpy()
    order = np.random.default_rng(seed).permutation(count)
    known, asked = order[: count // 4], order[count // 4 :]
    names = np.arange(bones)
    learnt, truth = np.repeat(names, len(known)), np.repeat(names, len(asked))
    neighbours = KNeighborsClassifier(min(_NEIGHBOURS, len(known)))
    found: dict[str, object] = {}
    for name, classifier in (("knn", neighbours), ("svm", SVC(kernel="linear"))):
        classifier.fit(rows[:, known].reshape(len(learnt), -1), learnt)
        right = classifier.predict(rows[:, asked].reshape(len(truth), -1)) == truth
        found |= _share(name, right, truth, seed)
    first = int(np.abs(table[:, :2]).sum(axis=1).argmin())
    others = np.delete(rows, first, axis=1).reshape(bones * (count - 1), -1)
    truth = np.repeat(names, count - 1)
    right = (others @ rows[:, first].T).argmax(axis=1) == truth
    return found | _share("one_picture", right, truth, seed)


def _share(name: str, right: BoolArray, bones: NDArray[np.int64], seed: int) -> dict[str, object]:
    return {name: float(right.mean()), f"{name}_interval": share_interval(right, bones, seed=seed)}


def triplets(vectors: torch.Tensor, margin: float, *, seed: int, images: int = 8, batches: int = 20) -> float:
    """Triplet accuracy over batches of ``images`` random pictures of every bone (at most 30), all triplets of each."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(batches):
        bones = torch.randperm(len(vectors), generator=generator)[:30]
        labels = bones.repeat_interleave(images)
        which = torch.randint(vectors.shape[1], labels.shape, generator=generator)
        rows = vectors[labels.to(vectors.device), which.to(vectors.device)]
        found.append(triplet_accuracy(rows, labels.to(vectors.device), margin))
    return float(torch.stack(found).mean())
