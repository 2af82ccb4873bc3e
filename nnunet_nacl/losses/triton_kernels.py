"""The losses as Triton kernels: one that sums up the value, one that writes the gradient. Imported only where they run.

A program looks at a block of voxels of one image, one class after the other, so that the logits are read as they are (in half precision,
with any number of classes) and nothing of their size is written but the gradient. The softmax is kept as its normaliser, a running
log-sum-exp, which the gradient's kernel computes again: that costs a second reading of what the cache still holds, and no memory. The next
class is read before the present one is worked on, so that memory and arithmetic overlap.

A window's class proportions are nearly all 0. So each voxel remembers the proportions of up to five classes: its own, the lowest and the
highest other one of its window, and the lowest and the highest between these. No more is looked for than the windows of a block hold; where
one of them holds more than five, the proportions are taken from the labels again for each class.

What ``triton.jit`` compiles is written for all versions of Triton that PyTorch brings; ``triton_loss`` calls it.
"""

from __future__ import annotations

import triton
import triton.language as tl

# what is added to the voxel's own terms: tests/losses hold the numbers to those of triton_loss
CROSS_ENTROPY = tl.constexpr(0)
NACL_L1 = tl.constexpr(1)
NACL_L2 = tl.constexpr(2)
SVLS = tl.constexpr(3)

NO_CLASS = tl.constexpr(2**31 - 1)
LOWEST = tl.constexpr(-3.0e38)
"""Where the running maximum starts: finite, since minus infinity less itself is no number."""

# quantities that are summed up per block and class
PROBABILITY, OWN_PROBABILITY, OWN, FIRST_BIN, FIRST_GAP, LAST_BIN, LAST_GAP = (tl.constexpr(i) for i in range(7))
FIXED_POINT = tl.constexpr(4294967296.0)
"""Sums that several blocks add to are integers, times this, so that their order does not matter."""


@triton.jit
def _row(voxel, row, depth, height, width, SZ: tl.constexpr, SY: tl.constexpr):
    """Return where the row of the window begins in the label map; beyond the border the border is repeated."""
    z = voxel // (width * height) + (row // SY - SZ // 2)
    y = (voxel // width) % height + (row % SY - SY // 2)
    near_z = tl.minimum(tl.maximum(z, 0), depth - 1)
    near_y = tl.minimum(tl.maximum(y, 0), height - 1)
    return (near_z * height + near_y) * width


@triton.jit
def _neighbour(target, start, voxel, column, valid, width, ignore, SX: tl.constexpr, IGNORE: tl.constexpr):
    """Return the label at a place of a row, and whether it counts."""
    near_x = tl.minimum(tl.maximum(voxel % width + (column - SX // 2), 0), width - 1)
    near = tl.load(target + start + near_x, mask=valid, other=0).to(tl.int32)
    counts = valid
    if IGNORE:
        counts = valid & (near != ignore)
    return near, counts


@triton.jit
def _weight(weights, place, BOX: tl.constexpr):
    if BOX:  # noqa: SIM108 (decided when it is compiled)
        here = 1.0
    else:
        here = tl.load(weights + place)
    return here


@triton.jit
def _range_of_classes(
    target, voxel, valid, own, depth, height, width, weights, ignore,
    SZ: tl.constexpr, SY: tl.constexpr, SX: tl.constexpr, BOX: tl.constexpr, IGNORE: tl.constexpr,
):  # fmt: skip
    """Return the weight of the voxel's own class in its window, that of all classes, and the lowest and the highest class."""
    share = tl.zeros_like(voxel).to(tl.float32)
    total = tl.zeros_like(share)
    lowest = own
    highest = own
    for row in range(SZ * SY):
        start = _row(voxel, row, depth, height, width, SZ, SY)
        for column in tl.static_range(SX):
            near, counts = _neighbour(target, start, voxel, column, valid, width, ignore, SX, IGNORE)
            here = _weight(weights, row * SX + column, BOX)
            share += tl.where(near == own, here, 0.0)
            total += tl.where(counts, here, 0.0)
            if IGNORE:
                near = tl.where(counts, near, own)
            lowest = tl.minimum(lowest, near)
            highest = tl.maximum(highest, near)
    return share, total, tl.where(valid, lowest, own), tl.where(valid, highest, own)


@triton.jit
def _look_around(
    target, voxel, valid, low, high, own, depth, height, width, weights, ignore,
    SZ: tl.constexpr, SY: tl.constexpr, SX: tl.constexpr, BOX: tl.constexpr, IGNORE: tl.constexpr,
):  # fmt: skip
    """Return the weight of two classes in each window, and the lowest and the highest class between them that is not the voxel's own."""
    low_weight = tl.zeros_like(voxel).to(tl.float32)
    high_weight = tl.zeros_like(low_weight)
    inner_low = tl.zeros_like(voxel) + NO_CLASS
    inner_high = tl.zeros_like(voxel) - 1
    for row in range(SZ * SY):
        start = _row(voxel, row, depth, height, width, SZ, SY)
        for column in tl.static_range(SX):
            near, counts = _neighbour(target, start, voxel, column, valid, width, ignore, SX, IGNORE)
            here = _weight(weights, row * SX + column, BOX)
            low_weight += tl.where(counts & (near == low), here, 0.0)
            high_weight += tl.where(counts & (near == high), here, 0.0)
            between = counts & (near > low) & (near < high) & (near != own)
            inner_low = tl.where(between, tl.minimum(inner_low, near), inner_low)
            inner_high = tl.where(between, tl.maximum(inner_high, near), inner_high)
    return low_weight, high_weight, inner_low, inner_high


@triton.jit
def _windows(
    target, voxel, valid, own, depth, height, width, weights, ignore,
    SZ: tl.constexpr, SY: tl.constexpr, SX: tl.constexpr, BOX: tl.constexpr, IGNORE: tl.constexpr,
):  # fmt: skip
    """Return what is known of the windows: 1 / weight of each, up to four classes beside the voxel's own, the proportions of the five, and how
    many pairs of other classes the block has: 0, 1, 2, or 3, where they are not all known.
    """
    share, total, low, high = _range_of_classes(
        target, voxel, valid, own, depth, height, width, weights, ignore, SZ, SY, SX, BOX, IGNORE
    )
    per_weight = 1.0 / tl.where(total > 0, total, 1.0)
    low_weight = tl.zeros_like(share)
    high_weight = tl.zeros_like(share)
    inner_low_weight = tl.zeros_like(share)
    inner_high_weight = tl.zeros_like(share)
    inner_low = tl.zeros_like(own) + NO_CLASS
    inner_high = tl.zeros_like(own) - 1
    pairs = 0
    if tl.max(tl.where(low < high, 1, 0), 0) > 0:
        pairs = 1
        low_weight, high_weight, inner_low, inner_high = _look_around(
            target, voxel, valid, low, high, own, depth, height, width, weights, ignore, SZ, SY, SX, BOX, IGNORE
        )
        if tl.max(inner_high, 0) >= 0:
            pairs = 2
            inner_low_weight, inner_high_weight, _, innermost = _look_around(
                target, voxel, valid, inner_low, inner_high, own, depth, height, width, weights, ignore, SZ, SY, SX, BOX, IGNORE
            )
            if tl.max(innermost, 0) >= 0:
                pairs = 3
    # a class that stands at two places is looked for at the first only
    low = tl.where(low == own, NO_CLASS, low)
    high = tl.where(high == own, NO_CLASS, high)
    inner_high = tl.where(inner_high == inner_low, NO_CLASS, inner_high)
    return (
        per_weight, share * per_weight, low, low_weight * per_weight, high, high_weight * per_weight,
        inner_low, inner_low_weight * per_weight, inner_high, inner_high_weight * per_weight, pairs,
    )  # fmt: skip


@triton.jit
def _proportion(
    k, own, share, low, low_share, high, high_share, inner_low, inner_low_share, inner_high, inner_high_share, pairs, per_weight,
    target, voxel, valid, depth, height, width, weights, ignore,
    SZ: tl.constexpr, SY: tl.constexpr, SX: tl.constexpr, BOX: tl.constexpr, IGNORE: tl.constexpr,
):  # fmt: skip
    """Return the proportion of class k in each window, from what ``_windows`` found."""
    proportion = tl.where(own == k, share, 0.0)
    if pairs > 0:
        proportion += tl.where(low == k, low_share, 0.0) + tl.where(high == k, high_share, 0.0)
    if pairs > 1:
        proportion += tl.where(inner_low == k, inner_low_share, 0.0) + tl.where(inner_high == k, inner_high_share, 0.0)
    if pairs > 2:
        counted, _, _, _ = _look_around(
            target, voxel, valid, k, NO_CLASS, own, depth, height, width, weights, ignore, SZ, SY, SX, BOX, IGNORE
        )
        proportion = counted * per_weight
    return proportion


@triton.jit
def _labels(target, voxel, inside, ignore, IGNORE: tl.constexpr):
    """Return the labels, -1 where a voxel does not count, and where it does."""
    own = tl.load(target + voxel, mask=inside, other=0).to(tl.int32)
    valid = inside
    if IGNORE:
        valid = inside & (own != ignore)
    return tl.where(valid, own, -1), valid


@triton.jit
def _logits(logits, inside, valid, IGNORE: tl.constexpr):
    """Return the logits of a class in float32, 0 where a voxel does not count: they may be NaN there."""
    values = tl.load(logits, mask=inside, other=0.0).to(tl.float32)
    if IGNORE:
        values = tl.where(valid, values, 0.0)
    return values


@triton.jit
def _add_exponential(highest, total, weighted, value, weight, WEIGHTED: tl.constexpr):
    """Return the running maximum, and the sums of exponentials and of weighted ones relative to it, with one more class."""
    rise = value - highest
    scaled = tl.exp(-tl.abs(rise))
    if WEIGHTED:
        weighted = tl.where(rise > 0, weighted * scaled + weight, weighted + scaled * weight)
    return tl.maximum(highest, value), tl.where(rise > 0, total * scaled + 1.0, total + scaled), weighted


@triton.jit
def _bin(probability, bins):
    """Return the bin (m / M, (m + 1) / M]; NaN goes to the first."""
    lower = tl.ceil(probability * bins) - 1.0
    lower = tl.where(lower > 0, lower, 0.0)
    return tl.where(lower < bins - 1, lower, bins - 1.0).to(tl.int32)


@triton.jit
def sum_up(
    logits, target, weights, of_voxels, of_classes, middle_bins, copies, classes, depth, height, width, ignore, factor, bins,
    TERM: tl.constexpr, IGNORE: tl.constexpr, BOX: tl.constexpr, SZ: tl.constexpr, SY: tl.constexpr, SX: tl.constexpr,
    SUMS: tl.constexpr, BINS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Sum the voxels' own terms and count the voxels, per block; with SUMS what Dice and mL1-ACE need of each class.

    ``of_voxels`` (2, B, blocks), ``of_classes`` (3 or 7, B, K, blocks), float32; ``middle_bins`` (copies, 2, B, K, M), int64, zero before: the
    blocks add to one copy after the other, since additions to one number queue.
    """
    voxels = depth * height * width
    voxel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = voxel < voxels
    image = tl.program_id(1).to(tl.int64)
    images = tl.num_programs(1)
    block = tl.program_id(0)
    blocks = tl.num_programs(0)
    target += image * voxels
    own, valid = _labels(target, voxel, inside, ignore, IGNORE)
    if TERM != CROSS_ENTROPY:
        (
            per_weight, share, low, low_share, high, high_share, inner_low, inner_low_share, inner_high, inner_high_share, pairs,
        ) = _windows(target, voxel, valid, own, depth, height, width, weights, ignore, SZ, SY, SX, BOX, IGNORE)  # fmt: skip
    first = logits + image * classes * voxels + voxel
    here = first
    highest = tl.full((BLOCK,), LOWEST, tl.float32)
    total = tl.zeros((BLOCK,), tl.float32)
    # NaN where no class is the label: what is wrong with it cannot be said from here, and must not go unseen
    of_label = tl.full((BLOCK,), float("nan"), tl.float32)
    added = tl.zeros((BLOCK,), tl.float32)
    value = _logits(here, inside, valid, IGNORE)
    for k in range(classes):
        here += voxels
        following = _logits(here, inside & (k + 1 < classes), valid, IGNORE)
        highest, total, _ = _add_exponential(highest, total, total, value, 0.0, False)
        of_label = tl.where(own == k, value, of_label)
        if TERM != CROSS_ENTROPY:
            proportion = _proportion(
                k, own, share, low, low_share, high, high_share, inner_low, inner_low_share, inner_high, inner_high_share, pairs, per_weight,
                target, voxel, valid, depth, height, width, weights, ignore, SZ, SY, SX, BOX, IGNORE,
            )  # fmt: skip
            if TERM == NACL_L1:
                added += tl.abs(value - proportion)
            elif TERM == NACL_L2:
                added += (value - proportion) * (value - proportion)
            else:
                # 0 times minus infinity is no number, and a class that is none of the target's may be ruled out
                added += tl.where(proportion > 0, proportion * value, 0.0)
        value = following
    normaliser = highest + tl.log(total)
    if TERM == SVLS:
        # the label is looked at for one reason only, that it is one of the classes
        loss = normaliser - added + tl.where(of_label == of_label, 0.0, of_label)
    elif TERM == CROSS_ENTROPY:
        loss = normaliser - of_label
    else:
        loss = normaliser - of_label + factor * added
    loss = tl.where(valid, loss, 0.0)
    tl.store(of_voxels + image * blocks + block, tl.sum(loss, 0))
    tl.store(of_voxels + (images + image) * blocks + block, tl.sum(tl.where(valid, 1.0, 0.0), 0))
    if SUMS:
        lowest = tl.min(tl.where(valid, own, NO_CLASS), 0)
        uppermost = tl.max(own, 0)
        apart = images.to(tl.int64) * classes * blocks
        here = first
        value = _logits(here, inside, valid, IGNORE)
        for k in range(classes):
            here += voxels
            following = _logits(here, inside & (k + 1 < classes), valid, IGNORE)
            probability = tl.where(valid, tl.exp(value - normaliser), 0.0)
            mine = own == k
            sums = of_classes + (image * classes + k) * blocks + block
            tl.store(sums + PROBABILITY * apart, tl.sum(probability, 0))
            held = 0.0
            of_mine = 0.0
            if (k >= lowest) & (k <= uppermost):
                held = tl.sum(tl.where(mine, 1.0, 0.0), 0)
                of_mine = tl.sum(tl.where(mine, probability, 0.0), 0)
            tl.store(sums + OWN * apart, held)
            tl.store(sums + OWN_PROBABILITY * apart, of_mine)
            if BINS:
                gap = tl.where(mine, probability - 1.0, probability)
                lower = _bin(probability, bins)
                in_first = valid & (lower == 0)
                in_last = valid & (lower == bins - 1) & (lower > 0)
                between = valid & (lower > 0) & (lower < bins - 1)
                # most voxels of most classes are in one of these two, where so many additions to one number would queue
                tl.store(sums + FIRST_BIN * apart, tl.sum(tl.where(in_first, 1.0, 0.0), 0))
                tl.store(sums + FIRST_GAP * apart, tl.sum(tl.where(in_first, gap, 0.0), 0))
                tl.store(sums + LAST_BIN * apart, tl.sum(tl.where(in_last, 1.0, 0.0), 0))
                tl.store(sums + LAST_GAP * apart, tl.sum(tl.where(in_last, gap, 0.0), 0))
                held_bins = middle_bins + ((2 * (block % copies) * images + image) * classes + k) * bins + lower
                gap_bins = held_bins + images.to(tl.int64) * classes * bins
                tl.atomic_add(held_bins, tl.full((BLOCK,), 1, tl.int64), mask=between, sem="relaxed")
                tl.atomic_add(gap_bins, (gap * FIXED_POINT).to(tl.int64), mask=between, sem="relaxed")
            value = following


@triton.jit
def write_gradient(
    logits, target, weights, gradient, grad_output, counted, of_class, of_label, of_bin, classes, depth, height, width,
    ignore, factor, bins, TERM: tl.constexpr, IGNORE: tl.constexpr, BOX: tl.constexpr, SZ: tl.constexpr, SY: tl.constexpr,
    SX: tl.constexpr, SUMS: tl.constexpr, BINS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Write the gradient, in the dtype of the logits and times ``grad_output``.

    ``counted`` is the number of voxels that count. Of Dice and mL1-ACE come the derivatives by a probability: ``of_class`` (B, K), and
    ``of_label`` (B, K) where the class is the label, and ``of_bin`` (B, K, M).
    """
    voxels = depth * height * width
    voxel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = voxel < voxels
    image = tl.program_id(1).to(tl.int64)
    target += image * voxels
    own, valid = _labels(target, voxel, inside, ignore, IGNORE)
    if TERM != CROSS_ENTROPY:
        (
            per_weight, share, low, low_share, high, high_share, inner_low, inner_low_share, inner_high, inner_high_share, pairs,
        ) = _windows(target, voxel, valid, own, depth, height, width, weights, ignore, SZ, SY, SX, BOX, IGNORE)  # fmt: skip
    outer = tl.load(grad_output)
    scale = outer / tl.load(counted)
    first = logits + image * classes * voxels + voxel
    here = first
    highest = tl.full((BLOCK,), LOWEST, tl.float32)
    total = tl.zeros((BLOCK,), tl.float32)
    weighted = tl.zeros((BLOCK,), tl.float32)
    of_class += image * classes
    of_label += image * classes
    of_bin += image * classes * bins
    value = _logits(here, inside, valid, IGNORE)
    for k in range(classes):
        here += voxels
        following = _logits(here, inside & (k + 1 < classes), valid, IGNORE)
        slope = 0.0
        if SUMS and not BINS:
            slope = tl.where(own == k, tl.load(of_label + k), tl.load(of_class + k))
        highest, total, weighted = _add_exponential(highest, total, weighted, value, slope, SUMS and not BINS)
        value = following
    # as in the value, a label that no class has makes NaN
    normaliser = tl.where((own >= 0) & (own < classes), highest + tl.log(total), float("nan"))
    mean_slope = weighted / total
    if BINS:
        # the bin of a probability is known now only
        here = first
        value = _logits(here, inside, valid, IGNORE)
        for k in range(classes):
            here += voxels
            following = _logits(here, inside & (k + 1 < classes), valid, IGNORE)
            probability = tl.exp(value - normaliser)
            slope = tl.where(own == k, tl.load(of_label + k), tl.load(of_class + k))
            slope += tl.load(of_bin + k * bins + _bin(probability, bins), mask=valid, other=0.0)
            mean_slope += probability * slope
            value = following
    here = first
    out = gradient + image * classes * voxels + voxel
    value = _logits(here, inside, valid, IGNORE)
    for k in range(classes):
        here += voxels
        following = _logits(here, inside & (k + 1 < classes), valid, IGNORE)
        probability = tl.exp(value - normaliser)
        mine = tl.where(own == k, 1.0, 0.0)
        wanted = mine
        if TERM != CROSS_ENTROPY:
            proportion = _proportion(
                k, own, share, low, low_share, high, high_share, inner_low, inner_low_share, inner_high, inner_high_share, pairs, per_weight,
                target, voxel, valid, depth, height, width, weights, ignore, SZ, SY, SX, BOX, IGNORE,
            )  # fmt: skip
            if TERM == SVLS:
                wanted = proportion
        derivative = (probability - wanted) * scale
        if TERM == NACL_L1:
            sign = tl.where(value > proportion, 1.0, tl.where(value < proportion, -1.0, 0.0))
            derivative += factor * scale * sign
        if TERM == NACL_L2:
            derivative += 2 * factor * scale * (value - proportion)
        if SUMS:
            slope = tl.where(own == k, tl.load(of_label + k), tl.load(of_class + k))
            if BINS:
                slope += tl.load(of_bin + k * bins + _bin(probability, bins), mask=valid, other=0.0)
            derivative += outer * probability * (slope - mean_slope)
        derivative = tl.where(valid, derivative, 0.0)
        tl.store(out, derivative.to(gradient.dtype.element_ty), mask=inside)
        out += voxels
        value = following
