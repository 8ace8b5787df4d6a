"""The rule of `walk`, compiled: rows are read where they lie, once, and none is copied.

Imported by `compiled` only, since numba takes longer to load than a first answer may take.
"""
# mypy: disallow_untyped_defs=False, disallow_untyped_calls=False

from typing import Any

import numba
import numpy as np

from boneprint.index import codes as _codes
from boneprint.index import walk

# Infinity is used, so that not all of fastmath is allowed. To add up in another order lets loops run on vectors.
_FAST = {"reassoc", "contract", "nsz", "arcp"}
_SAMPLED = 256  # gaps, to guess where the nearest few end
_NEVER = np.float32(-2)  # less than any product of unit rows
# What `nearest` gives back first.
FOUND, UNVERIFIED, TOO_MUCH = 0, 1, 2

_FIRST_BATCH, _FIRST_MORE = walk.FIRST_BATCH, walk.FIRST_MORE
_LEAST_BATCH, _MOST_BATCH = walk.LEAST_BATCH, walk.MOST_BATCH
_CANDIDATES, _CANDIDATES_PER_K = walk.CANDIDATES, walk.CANDIDATES_PER_K
_MOST_CELLS, _MOST_CELLS_PER_FIRST = walk.MOST_CELLS, walk.MOST_CELLS_PER_FIRST
_STEPS, _ROUNDING = _codes.PROBE_STEPS, np.float32(_codes.ROUNDING)
_LOST_SHARE, _GREAT, _GREAT_SD = walk.LOST_SHARE, walk.GREAT, walk.GREAT_SD


def _compiled(loop: Any) -> Any:
    """Compiled when it is first called, and kept on disk where there is a folder that numba can write."""
    settings: dict[str, Any] = {"nogil": True, "fastmath": _FAST, "error_model": "numpy"}
    try:
        return numba.njit(loop, cache=True, **settings)
    except RuntimeError:
        return numba.njit(loop, **settings)


@_compiled
def _coded(probe):
    """See `codes.coded`; of one row."""
    most = np.float32(0)
    for axis in range(len(probe)):
        most = max(most, abs(probe[axis]))
    unit = most / np.float32(_STEPS)
    codes = np.empty(len(probe), np.int16)
    square = missed = np.float32(0)
    for axis in range(len(probe)):
        whole = np.rint(probe[axis] / unit)
        codes[axis] = np.int16(whole)
        square += whole * whole
        off = probe[axis] - whole * unit
        missed += off * off
    return codes, unit, square * unit * unit, np.sqrt(missed)


@_compiled
def _compare(codes, units, squares, slack, first, last, coded, gaps, bounds):
    """See `Codes.compared`; of rows first to last, with a probe as `_coded` gives it."""
    probe_codes, unit, square, error = coded
    for row in range(first, last):
        product = np.int32(0)
        for axis in range(codes.shape[1]):
            # Kept to 32 bits, or numba adds in 64 and the loop takes more than twice the time.
            product = np.int32(product + np.int32(codes[row, axis]) * np.int32(probe_codes[axis]))
        gaps[row - first] = np.float32(product)
    for row in range(first, last):
        crossed = np.float32(2) * units[row] * unit * gaps[row - first]
        squared = squares[row] + square - crossed
        gaps[row - first] = np.sqrt(max(squared, np.float32(0)))
        bounds[row - first] = np.sqrt(max(squared - _ROUNDING, np.float32(0))) - slack[row] - (error + _ROUNDING)


@_compiled
def _about(codes, units, squares, slack, offsets, numbers, probes):
    """See `walk.compared`."""
    count = len(numbers)
    cells = np.zeros(count + 1, np.int64)
    for bone in range(count):
        cells[bone + 1] = cells[bone] + offsets[numbers[bone] + 1] - offsets[numbers[bone]]
    gaps, bounds = np.empty(cells[count], np.float32), np.empty(cells[count], np.float32)
    fused_gaps = np.zeros(count if len(probes) > 1 else 0, np.float32)
    fused_bounds = np.zeros(len(fused_gaps), np.float32)
    for probe in probes:
        coded = _coded(probe)
        # As many bones at once as follow one another.
        bone = 0
        while bone < count:
            after = bone + 1
            if numbers[count - 1] - numbers[bone] == count - 1 - bone:
                after = count
            while after < count and numbers[after] == numbers[after - 1] + 1:
                after += 1
            first, last = offsets[numbers[bone]], offsets[numbers[after - 1] + 1]
            own = slice(cells[bone], cells[after])
            _compare(codes, units, squares, slack, first, last, coded, gaps[own], bounds[own])
            bone = after
        for bone in range(len(fused_gaps)):
            gap = bound = np.float32(np.inf)
            for cell in range(cells[bone], cells[bone + 1]):
                gap, bound = min(gap, gaps[cell]), min(bound, bounds[cell])
            fused_gaps[bone] += gap * gap
            fused_bounds[bone] += max(bound, np.float32(0)) ** 2
    if len(probes) == 1:
        return cells, gaps, bounds
    for bone in range(count):
        cells[bone + 1] = bone + 1
        fused_gaps[bone] = np.sqrt(fused_gaps[bone] / np.float32(len(probes)))
        fused_bounds[bone] = np.sqrt(fused_bounds[bone] / np.float32(len(probes)))
    return cells, fused_gaps, fused_bounds


@_compiled
def _candidates(gaps, looked, asked):
    """See `walk.Walk`; a sample of the gaps tells about where the nearest few end."""
    count = len(gaps)
    step = max(count // _SAMPLED, 1)
    sample = np.sort(gaps[::step])
    place = (asked + asked // 4) // step + 3
    while True:
        cut = sample[place] if place < len(sample) else np.float32(np.inf)
        near = 0
        for cell in range(count):
            near += gaps[cell] <= cut
        if near >= min(asked, count):
            break
        place *= 2
    cells, keys = np.empty(near, np.int64), np.empty(near, np.float32)
    near = 0
    for cell in range(count):
        if gaps[cell] <= cut:
            cells[near], keys[near] = cell, gaps[cell]
            near += 1
    cells = cells[np.argsort(keys, kind="mergesort")[:asked]]
    return cells[~looked[cells]]


@_compiled
def _owner(cells, cell):
    """Place of the bone that a cell belongs to."""
    low, high = 0, len(cells) - 1
    if cells[high] == high:
        return cell
    while high - low > 1:
        middle = (low + high) >> 1
        if cells[middle] <= cell:
            low = middle
        else:
            high = middle
    return low


@_compiled
def _kth(squared, k):
    return np.partition(squared, k - 1)[k - 1] if len(squared) >= k else np.inf


@_compiled
def _look(rows, begin, end, owners, cell, probe, largest, second, row_of, seen, column):
    """Largest product in a cell of a bone (all of it if ``cell`` is negative); notes the bone's two largest so far."""
    here = _NEVER
    first, other, nearest = largest[seen, column], second[seen, column], row_of[seen, column]
    for row in range(begin, end):
        if cell >= 0 and owners[row - begin] != cell:
            continue
        product = np.float32(0)
        for axis in range(rows.shape[1]):
            product += rows[row, axis] * probe[axis]
        here = max(here, product)
        if product > first:
            first, other, nearest = product, first, row
        elif product > other:
            other = product
    largest[seen, column], second[seen, column], row_of[seen, column] = first, other, nearest
    return here


@_compiled
def _nearest_row(rows, begin, end, probe, least):
    """Of a bone's rows whose product is ``least`` or more the nearest, by differences; the first of equal ones."""
    best, nearest = np.inf, begin
    for row in range(begin, end):
        product = np.float32(0)
        for axis in range(rows.shape[1]):
            product += rows[row, axis] * probe[axis]
        if product < least:
            continue
        squared = 0.0
        for axis in range(rows.shape[1]):
            off = np.float64(rows[row, axis]) - np.float64(probe[axis])
            squared += off * off
        if squared < best:
            best, nearest = squared, row
    return nearest


@_compiled
def _doubted(begins, ends, bones, cells, bounds, looked, farthest, most):
    """About how many views lie in cells that are not proved to be farther, and how many cells these are.

    Of more than ``most`` views no more are counted.
    """
    views, doubted = 0.0, 0
    for cell in range(len(bounds)):
        if views > most:
            break
        if bounds[cell] < farthest and not looked[cell]:
            bone = _owner(cells, cell)
            views += (ends[bones[bone]] - begins[bones[bone]]) / (cells[bone + 1] - cells[bone])
            doubted += 1
    return views, doubted


@_compiled
def nearest(
    rows, begins, ends, unverified, bones, numbers, offsets, view_offsets, owners,
    codes, units, squares, slack, probes, others, k, error, proof_views, prove,
):  # fmt: skip
    """See `walk.Walk.nearest`, for bones whose rows lie in one block.

    Returns
    -------
    state : FOUND; or UNVERIFIED: the bones given back must be compared with their checksums first; or TOO_MUCH: to
        ``prove`` the answer, more than ``proof_views`` views must be looked at
    found : places among ``bones``
    nearest_rows : of each and each probe
    proved_to, kth_squared
    """
    count = len(probes)
    cells, gaps, bounds = _about(codes, units, squares, slack, offsets, numbers, probes)
    nothing, no_rows = np.empty(0, np.int64), np.empty((0, count), np.int64)
    looked = np.zeros(len(gaps), np.bool_)
    places = np.full(len(bones), -1, np.int32)

    batch = max(_FIRST_BATCH, k + _FIRST_MORE)
    asked = max(_CANDIDATES, _CANDIDATES_PER_K * k)
    most = max(_MOST_CELLS, _MOST_CELLS_PER_FIRST * batch)
    lost = _LOST_SHARE * k
    room = most + _MOST_BATCH
    seen = np.empty(room, np.int64)
    largest, second = np.full((room, count), _NEVER), np.full((room, count), _NEVER)
    row_of = np.zeros((room, count), np.int64)
    squared = np.empty(len(others) + room, np.float64)
    squared[: len(others)] = others
    gains = np.empty(room, np.float32)
    many = gained = at = 0  # bones seen, cells looked at, candidates of the present list done
    known = len(others)
    waiting = _candidates(gaps, looked, asked)
    stage = 0  # 0: candidates, 1: the rest of the nearest, 2: what is doubted, 3: the rest of the nearest again
    while stage < 4:
        # What to look at next.
        if stage == 0:
            todo = waiting[at : at + batch]
            at += len(todo)
        elif stage == 2:
            farthest = np.sqrt(max(_kth(squared[:known], k) + error, 0.0))
            views, doubted = _doubted(begins, ends, bones, cells, bounds, looked, farthest, proof_views)
            if views > proof_views and prove:
                return TOO_MUCH, nothing, no_rows, 0.0, 0.0
            if views > proof_views:
                farthest = np.sqrt(max(squared[:known].min() + error, 0.0))
                views, doubted = _doubted(begins, ends, bones, cells, bounds, looked, farthest, proof_views)
            if views > proof_views or doubted == 0:
                break
            todo = np.empty(doubted, np.int64)
            doubted = 0
            for cell in range(len(gaps)):
                if not looked[cell] and bounds[cell] < farthest:
                    todo[doubted] = cell
                    doubted += 1
        else:
            kth = _kth(squared[:known], k)
            todo = np.empty(0, np.int64)
            for place in range(many):
                if squared[len(others) + place] <= kth:
                    bone = seen[place]
                    if cells[bone + 1] - cells[bone] > 1:
                        limit = np.sqrt(max(squared[len(others) + place] + error, 0.0))
                        for cell in range(cells[bone], cells[bone + 1]):
                            if not looked[cell]:
                                looked[cell] = True
                                if bounds[cell] < limit:
                                    todo = np.append(todo, cell)
            if len(todo) == 0:
                stage += 1
                continue
        # Whatever was never compared with its checksum is not looked at.
        strange = 0
        for cell in todo:
            strange += unverified[bones[_owner(cells, cell)]]
        if strange:
            found = np.empty(strange, np.int64)
            strange = 0
            for cell in todo:
                bone = bones[_owner(cells, cell)]
                if unverified[bone]:
                    found[strange] = bone
                    strange += 1
            return UNVERIFIED, found, no_rows, 0.0, 0.0
        # Look.
        for cell in todo:
            looked[cell] = True
            bone = _owner(cells, cell)
            place = places[bone]
            if place < 0:
                place = many
                if place == len(seen):
                    room = 2 * len(seen)
                    seen = np.append(seen, np.empty(len(seen), np.int64))
                    largest = np.concatenate((largest, np.full(largest.shape, _NEVER)))
                    second = np.concatenate((second, np.full(second.shape, _NEVER)))
                    row_of = np.concatenate((row_of, row_of))
                    squared = np.append(squared, np.empty(len(squared), np.float64))
                places[bone], seen[place] = place, bone
                many += 1
                known += 1
            own = bones[bone]
            several = cells[bone + 1] - cells[bone] > 1
            first = view_offsets[numbers[bone]]
            cell_squared = bone_squared = 0.0
            for column in range(count):
                here = _look(
                    rows, begins[own], ends[own], owners[first:], cell - cells[bone] if several else -1,
                    probes[column], largest, second, row_of, place, column,
                )  # fmt: skip
                cell_squared += 2.0 - 2.0 * here
                bone_squared += 2.0 - 2.0 * largest[place, column]
            squared[len(others) + place] = bone_squared / count
            if stage == 0:
                gains[gained] = gaps[cell] - np.sqrt(max(cell_squared / count, 0.0))
                gained += 1
        if stage == 2:
            stage = 3
        if stage > 0:
            continue
        # Whether to go on.
        if gained >= most:
            stage = 1
            continue
        if at >= len(waiting):
            asked *= 2
            at = 0
            waiting = _candidates(gaps, looked, asked)
            if len(waiting) == 0:
                stage = 1
                continue
        kth = _kth(squared[:known], k)
        if np.isinf(kth):
            batch = _LEAST_BATCH
            continue
        kth = np.sqrt(max(kth, 0.0))
        rising = np.sort(gains[:gained])
        usual, great = rising[gained // 2], rising[int(_GREAT * gained)]
        spread = (great - usual) / _GREAT_SD + 1e-6
        worth = 0
        missed = 0.0
        for other in range(len(waiting) - 1, at - 1, -1):
            surprise = max((gaps[waiting[other]] - kth - usual) / spread, 0.0)
            missed += np.exp(-0.5 * surprise * surprise) / 2
            if missed >= lost:
                worth = other - at + 1
                break
        batch = min(max(worth, _LEAST_BATCH), _MOST_BATCH)
        if worth == 0:
            stage = 1

    kth = _kth(squared[:known], k)
    proved_to = np.float32(np.inf)
    for cell in range(len(gaps)):
        if not looked[cell]:
            proved_to = min(proved_to, bounds[cell])
    near = 0
    for place in range(many):
        near += squared[len(others) + place] <= kth + 2 * error
    found, found_rows = np.empty(near, np.int64), np.empty((near, count), np.int64)
    near = 0
    for place in range(many):
        if squared[len(others) + place] <= kth + 2 * error:
            found[near] = seen[place]
            for column in range(count):
                row, least = row_of[place, column], largest[place, column] - np.float32(error)
                if second[place, column] >= least:
                    own = bones[seen[place]]
                    row = _nearest_row(rows, begins[own], ends[own], probes[column], least)
                found_rows[near, column] = row
            near += 1
    return FOUND, found, found_rows, proved_to, kth
