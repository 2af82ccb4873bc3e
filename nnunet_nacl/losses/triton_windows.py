"""The classes of each voxel's window, for the Triton kernels: which there are, and their proportions.

Nearly all windows hold one class, whose proportion is 1: then the labels are looked through once, for the lowest and the highest class.
Otherwise the two outermost classes of each window are counted, and the next ones inwards are found by the way.
"""

from __future__ import annotations

import triton
import triton.language as tl

NO_CLASS = tl.constexpr(2**31 - 1)


@triton.jit
def _row(voxel, plane, line, depth, height, width, SZ: tl.constexpr, SY: tl.constexpr):
    """Return where a row of the window begins in the label map; beyond the border the border is repeated."""
    near_z = tl.minimum(tl.maximum(voxel // (width * height) + (plane - SZ // 2), 0), depth - 1)
    near_y = tl.minimum(tl.maximum((voxel // width) % height + (line - SY // 2), 0), height - 1)
    return (near_z * height + near_y) * width


@triton.jit
def _neighbour(target, start, voxel, column, width, SX: tl.constexpr):
    near_x = tl.minimum(tl.maximum(voxel % width + (column - SX // 2), 0), width - 1)
    return tl.load(target + start + near_x).to(tl.int32)


@triton.jit
def range_of_classes(
    target, voxel, valid, own, depth, height, width, ignore,
    SZ: tl.constexpr, SY: tl.constexpr, SX: tl.constexpr, IGNORE: tl.constexpr,
):  # fmt: skip
    """Return the lowest and the highest class of each window."""
    lowest = own
    highest = own
    for plane in range(SZ):
        for line in tl.static_range(SY):
            start = _row(voxel, plane, line, depth, height, width, SZ, SY)
            for column in tl.static_range(SX):
                near = _neighbour(target, start, voxel, column, width, SX)
                if IGNORE:
                    near = tl.where(near == ignore, own, near)
                lowest = tl.minimum(lowest, near)
                highest = tl.maximum(highest, near)
    return tl.where(valid, lowest, own), tl.where(valid, highest, own)


@triton.jit
def count(
    target, voxel, low, high, depth, height, width, weights, ignore,
    SZ: tl.constexpr, SY: tl.constexpr, SX: tl.constexpr, BOX: tl.constexpr, IGNORE: tl.constexpr,
):  # fmt: skip
    """Return the proportions of two classes in each window, the next class above the first, and the next one below the second."""
    nothing = tl.zeros_like(low)
    if not BOX:
        nothing = nothing.to(tl.float32)
    of_low = nothing
    of_high = nothing
    ignored = nothing
    of_all = 0
    if not BOX:
        of_all = 0.0
    # without a sign, what is not above is very far above
    above = tl.zeros_like(low).to(tl.uint32) + NO_CLASS
    below = tl.zeros_like(low).to(tl.uint32) + NO_CLASS
    for plane in range(SZ):
        for line in tl.static_range(SY):
            start = _row(voxel, plane, line, depth, height, width, SZ, SY)
            for column in tl.static_range(SX):
                near = _neighbour(target, start, voxel, column, width, SX)
                here = 1
                if not BOX:
                    here = tl.load(weights + (plane * SY + line) * SX + column)
                of_all += here
                if IGNORE:
                    ignored += tl.where(near == ignore, here, 0)
                    near = tl.where(near == ignore, NO_CLASS, near)
                of_low += tl.where(near == low, here, 0)
                of_high += tl.where(near == high, here, 0)
                above = tl.minimum(above, (near - low - 1).to(tl.uint32))
                below = tl.minimum(below, (high - near - 1).to(tl.uint32))
    following = tl.where(above < NO_CLASS, low + 1 + above.to(tl.int32), NO_CLASS)
    preceding = tl.where(below < NO_CLASS, high - 1 - below.to(tl.int32), -1)
    total = (of_all - ignored).to(tl.float32)
    per_weight = 1.0 / tl.where(total > 0, total, 1.0)
    return of_low * per_weight, of_high * per_weight, following, preceding


@triton.jit
def any_of(condition):
    return tl.max(tl.where(condition, 1, 0), 0) > 0
