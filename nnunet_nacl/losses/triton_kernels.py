"""The losses as Triton kernels: one that sums up the value, one that writes the gradient. Imported only where they run.

A program looks at a block of voxels of one image, one class after the other, so that the logits are read as they are (in half precision,
with any number of classes) and nothing of their size is written but the gradient. The softmax is kept as its normaliser, a running
log-sum-exp, which the gradient's kernel computes again: that costs a second reading of what the cache still holds, and no memory.

A window's class proportions are nearly all 0. So each voxel remembers the proportions of up to four classes: its own, and the three lowest
others that its window holds. Where no window of a block holds more than one class, nothing else is looked for; where one of them
holds more than four, the proportions are taken from the labels again for each class.

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
def _look_around(
    target, voxel, valid, wanted, own, above, depth, height, width, weights, ignore,
    SZ: tl.constexpr, SY: tl.constexpr, SX: tl.constexpr, BOX: tl.constexpr, IGNORE: tl.constexpr,
):  # fmt: skip
    """Return the weight of a class in each window, that of all classes, and the lowest class above one that is not the voxel's own."""
    x = voxel % width
    y = (voxel // width) % height
    z = voxel // (width * height)
    weight = tl.zeros_like(voxel).to(tl.float32)
    total = tl.zeros_like(weight)
    following = tl.zeros_like(voxel) + NO_CLASS
    for row in range(SZ * SY):
        near_z = tl.minimum(tl.maximum(z + (row // SY - SZ // 2), 0), depth - 1)
        near_y = tl.minimum(tl.maximum(y + (row % SY - SY // 2), 0), height - 1)
        start = (near_z * height + near_y) * width
        for column in tl.static_range(SX):
            near_x = tl.minimum(tl.maximum(x + (column - SX // 2), 0), width - 1)
            near = tl.load(target + start + near_x, mask=valid, other=0).to(tl.int32)
            if BOX:  # noqa: SIM108 (decided when it is compiled)
                here = 1.0
            else:
                here = tl.load(weights + row * SX + column)
            counts = valid
            if IGNORE:
                counts = valid & (near != ignore)
            weight += tl.where(counts & (near == wanted), here, 0.0)
            total += tl.where(counts, here, 0.0)
            other = counts & (near != own) & (near > above) & (near < following)
            following = tl.where(other, near, following)
    return weight, total, following


@triton.jit
def _windows(
    target, voxel, valid, own, depth, height, width, weights, ignore,
    SZ: tl.constexpr, SY: tl.constexpr, SX: tl.constexpr, BOX: tl.constexpr, IGNORE: tl.constexpr,
):  # fmt: skip
    """Return 1 / weight of each window, up to three classes of it beside the voxel's own, the proportions of the four, and whether that is all."""
    share, total, second = _look_around(
        target, voxel, valid, own, own, -1, depth, height, width, weights, ignore, SZ, SY, SX, BOX, IGNORE
    )
    per_weight = 1.0 / tl.where(total > 0, total, 1.0)
    second_share = tl.zeros_like(share)
    third_share = tl.zeros_like(share)
    fourth_share = tl.zeros_like(share)
    third = tl.zeros_like(own) + NO_CLASS
    fourth = tl.zeros_like(own) + NO_CLASS
    fifth = tl.zeros_like(own) + NO_CLASS
    if tl.min(second, 0) < NO_CLASS:
        second_share, total, third = _look_around(
            target, voxel, valid, second, own, second, depth, height, width, weights, ignore, SZ, SY, SX, BOX, IGNORE
        )
        if tl.min(third, 0) < NO_CLASS:
            third_share, total, fourth = _look_around(
                target, voxel, valid, third, own, third, depth, height, width, weights, ignore, SZ, SY, SX, BOX, IGNORE
            )
            if tl.min(fourth, 0) < NO_CLASS:
                fourth_share, total, fifth = _look_around(
                    target, voxel, valid, fourth, own, fourth, depth, height, width, weights, ignore, SZ, SY, SX, BOX, IGNORE
                )  # fmt: skip
    return (
        per_weight, second, third, fourth, share * per_weight, second_share * per_weight, third_share * per_weight,
        fourth_share * per_weight, tl.min(fifth, 0) == NO_CLASS,
    )  # fmt: skip


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
def _add_exponential(highest, total, values):
    """Return the running maximum and the sum of exponentials relative to it, with one more class."""
    rise = values - highest
    scaled = tl.exp(-tl.abs(rise))
    return tl.maximum(highest, values), tl.where(rise > 0, total * scaled + 1.0, total + scaled)


@triton.jit
def _bin(probability, bins):
    """Return the bin (m / M, (m + 1) / M]; NaN goes to the first."""
    lower = tl.ceil(probability * bins) - 1.0
    lower = tl.where(lower > 0, lower, 0.0)
    return tl.where(lower < bins - 1, lower, bins - 1.0).to(tl.int32)


@triton.jit
def sum_up(
    logits, target, weights, of_voxels, of_classes, middle_bins, classes, depth, height, width, ignore, factor, bins,
    TERM: tl.constexpr, IGNORE: tl.constexpr, BOX: tl.constexpr, SZ: tl.constexpr, SY: tl.constexpr, SX: tl.constexpr,
    SUMS: tl.constexpr, BINS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Sum the voxels' own terms and count the voxels, per block; with SUMS what Dice and mL1-ACE need of each class.

    ``of_voxels`` (2, B, blocks), ``of_classes`` (3 or 7, B, K, blocks), float32; ``middle_bins`` (2, B, K, M), int64, zero before.
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
        per_weight, second, third, fourth, share, second_share, third_share, fourth_share, all_known = _windows(
            target, voxel, valid, own, depth, height, width, weights, ignore, SZ, SY, SX, BOX, IGNORE
        )
    first = logits + image * classes * voxels + voxel
    here = first
    highest = tl.full((BLOCK,), LOWEST, tl.float32)
    total = tl.zeros((BLOCK,), tl.float32)
    # NaN where no class is the label: what is wrong with it cannot be said from here, and must not go unseen
    of_label = tl.full((BLOCK,), float("nan"), tl.float32)
    added = tl.zeros((BLOCK,), tl.float32)
    for k in range(classes):
        value = _logits(here, inside, valid, IGNORE)
        here += voxels
        highest, total = _add_exponential(highest, total, value)
        of_label = tl.where(own == k, value, of_label)
        if TERM != CROSS_ENTROPY:
            proportion = tl.where(own == k, share, 0.0) + tl.where(second == k, second_share, 0.0)
            proportion += tl.where(third == k, third_share, 0.0) + tl.where(fourth == k, fourth_share, 0.0)
            if not all_known:
                counted, _, _ = _look_around(
                    target, voxel, valid, k, own, k, depth, height, width, weights, ignore, SZ, SY, SX, BOX, IGNORE
                )
                proportion = counted * per_weight
            if TERM == NACL_L1:
                added += tl.abs(value - proportion)
            elif TERM == NACL_L2:
                added += (value - proportion) * (value - proportion)
            else:
                # 0 times minus infinity is no number, and a class that is none of the target's may be ruled out
                added += tl.where(proportion > 0, proportion * value, 0.0)
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
        for k in range(classes):
            value = _logits(here, inside, valid, IGNORE)
            here += voxels
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
                held_bins = middle_bins + (image * classes + k) * bins + lower
                gap_bins = held_bins + images.to(tl.int64) * classes * bins
                tl.atomic_add(held_bins, tl.full((BLOCK,), 1, tl.int64), mask=between, sem="relaxed")
                tl.atomic_add(gap_bins, (gap * FIXED_POINT).to(tl.int64), mask=between, sem="relaxed")


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
        per_weight, second, third, fourth, share, second_share, third_share, fourth_share, all_known = _windows(
            target, voxel, valid, own, depth, height, width, weights, ignore, SZ, SY, SX, BOX, IGNORE
        )
    outer = tl.load(grad_output)
    scale = outer / tl.load(counted)
    first = logits + image * classes * voxels + voxel
    here = first
    highest = tl.full((BLOCK,), LOWEST, tl.float32)
    total = tl.zeros((BLOCK,), tl.float32)
    named = own == NO_CLASS
    for k in range(classes):
        value = _logits(here, inside, valid, IGNORE)
        here += voxels
        highest, total = _add_exponential(highest, total, value)
        named = named | (own == k)
    # as in the value, a label that no class has makes NaN
    normaliser = tl.where(named, highest + tl.log(total), float("nan"))
    of_class += image * classes
    of_label += image * classes
    of_bin += image * classes * bins
    mean_slope = tl.zeros((BLOCK,), tl.float32)
    if SUMS:
        here = first
        for k in range(classes):
            value = _logits(here, inside, valid, IGNORE)
            here += voxels
            probability = tl.exp(value - normaliser)
            slope = tl.where(own == k, tl.load(of_label + k), tl.load(of_class + k))
            if BINS:
                slope += tl.load(of_bin + k * bins + _bin(probability, bins), mask=valid, other=0.0)
            mean_slope += probability * slope
    here = first
    out = gradient + image * classes * voxels + voxel
    for k in range(classes):
        value = _logits(here, inside, valid, IGNORE)
        here += voxels
        probability = tl.exp(value - normaliser)
        mine = tl.where(own == k, 1.0, 0.0)
        wanted = mine
        if TERM != CROSS_ENTROPY:
            proportion = tl.where(own == k, share, 0.0) + tl.where(second == k, second_share, 0.0)
            proportion += tl.where(third == k, third_share, 0.0) + tl.where(fourth == k, fourth_share, 0.0)
            if not all_known:
                counted_here, _, _ = _look_around(
                    target, voxel, valid, k, own, k, depth, height, width, weights, ignore, SZ, SY, SX, BOX, IGNORE
                )
                proportion = counted_here * per_weight
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
