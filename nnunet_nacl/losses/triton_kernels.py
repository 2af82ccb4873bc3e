"""The losses as Triton kernels: one that sums up the value, one that writes the gradient. Imported only where they run.

A program looks at a block of voxels of one image, one class after the other, so that the logits are read as they are (in half precision,
with any number of classes) and nothing of their size is written but the gradient. The softmax is kept as its normaliser, a running
log-sum-exp, which the gradient's kernel computes again: that costs a second reading of what the cache still holds, and no memory. The next
class is read before the present one is worked on, so that memory and arithmetic overlap.

Nearly all class proportions are 0 (``triton_windows``). A sum over all classes, and the gradient, are first computed as if each window held
the voxel's own class only; then what the classes of mixed windows change is put right, two or three of each window a round.

What ``triton.jit`` compiles is kept to what Triton 2.1, of PyTorch 2.1, knows; that of mL1-ACE needs Triton 3 (additions to an int64).
``triton_loss`` calls it.
"""

from __future__ import annotations

import triton
import triton.language as tl

from nnunet_nacl.losses.triton_windows import NO_CLASS, any_of, count, range_of_classes

# what is added to the voxel's own terms: tests/losses hold the numbers to those of triton_loss
CROSS_ENTROPY = tl.constexpr(0)
NACL_L1 = tl.constexpr(1)
NACL_L2 = tl.constexpr(2)
SVLS = tl.constexpr(3)

SIZES = ["depth", "height", "width"]
"""Of which Triton need not know whether they are 1 or multiples of 16, so that patches of other shapes take the same machine code."""

LOWEST = tl.constexpr(-3.0e38)
"""Where the running maximum starts: finite, since minus infinity less itself is no number."""

# quantities that are summed up per block and class
PROBABILITY, OWN_PROBABILITY, OWN, FIRST_BIN, FIRST_GAP, LAST_BIN, LAST_GAP = (tl.constexpr(i) for i in range(7))
FIXED_POINT = tl.constexpr(4294967296.0)
"""Sums that several blocks add to are integers, times this, so that their order does not matter."""


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
def _more(value, proportion, TERM: tl.constexpr):
    """Return what a class adds to the term of a voxel beyond what it would add with a proportion of 0."""
    if TERM == NACL_L1:
        more = tl.abs(value - proportion) - tl.abs(value)
    elif TERM == NACL_L2:
        more = proportion * (proportion - 2 * value)
    else:
        # 0 times minus infinity is no number, and a class that is none of the target's may be ruled out
        more = tl.where(proportion > 0, proportion * value, 0.0)
    return more


@triton.jit
def _derivative(
    value, normaliser, mine, proportion, slope, scale, outer, factor, TERM: tl.constexpr, SUMS: tl.constexpr
):  # fmt: skip
    """Return the derivative by a logit; ``slope`` is that of Dice and mL1-ACE by its probability, less the mean over the classes."""
    probability = tl.exp(value - normaliser)
    if TERM == SVLS:  # noqa: SIM108 (decided when it is compiled)
        derivative = (probability - proportion) * scale
    else:
        derivative = (probability - mine) * scale
    if TERM == NACL_L1:
        derivative += factor * scale * tl.where(value > proportion, 1.0, tl.where(value < proportion, -1.0, 0.0))
    if TERM == NACL_L2:
        derivative += 2 * factor * scale * (value - proportion)
    if SUMS:
        derivative += outer * probability * slope
    return derivative


@triton.jit
def _more_of(first, which, proportion, present, classes, voxels, TERM: tl.constexpr):
    """Return ``_more`` for another class at each voxel, 0 where it is not present or no class."""
    present = present & (which >= 0) & (which < classes)
    value = tl.load(first + which.to(tl.int64) * voxels, mask=present, other=0.0).to(tl.float32)
    return tl.where(present, _more(value, proportion, TERM), 0.0)


@triton.jit
def _put_right(
    logits, gradient, voxel, which, proportion, present, own, normaliser, of_class, of_label, mean_slope, scale, outer, factor,
    classes, voxels, TERM: tl.constexpr, SUMS: tl.constexpr,
):  # fmt: skip
    """Write the derivative by the logit of another class at each voxel, where it is present and a class."""
    present = present & (which >= 0) & (which < classes)
    place = which.to(tl.int64) * voxels + voxel
    value = tl.load(logits + place, mask=present, other=0.0).to(tl.float32)
    mine = tl.where(own == which, 1.0, 0.0)
    slope = mean_slope
    if SUMS:
        slope = tl.load(of_class + which, mask=present, other=0.0)
        slope = tl.where(own == which, tl.load(of_label + which, mask=present, other=0.0), slope)
    derivative = _derivative(value, normaliser, mine, proportion, slope - mean_slope, scale, outer, factor, TERM, SUMS)
    tl.store(gradient + place, derivative.to(gradient.dtype.element_ty), mask=present)


@triton.jit
def _bin(probability, bins):
    """Return the bin (m / M, (m + 1) / M]; NaN goes to the first."""
    lower = tl.math.ceil(probability * bins) - 1.0
    lower = tl.where(lower > 0, lower, 0.0)
    return tl.where(lower < bins - 1, lower, bins - 1.0).to(tl.int32)


@triton.jit
def _slope(own, k, of_class, of_label):
    """Return the derivative of Dice by the probability of class k."""
    return tl.where(own == k, tl.load(of_label + k), tl.load(of_class + k))


@triton.jit
def _slope_of_bin(probability, k, of_bin, bins, valid):
    """Return the derivative of mL1-ACE by the probability of class k."""
    return tl.load(of_bin + k * bins + _bin(probability, bins), mask=valid, other=0.0)


@triton.jit(do_not_specialize=SIZES)
def sum_up(
    logits, target, weights, of_voxels, of_classes, middle_bins, copies, classes, voxels, depth, height, width, ignore,
    factor, bins, TERM: tl.constexpr, IGNORE: tl.constexpr, BOX: tl.constexpr, SZ: tl.constexpr, SY: tl.constexpr, SX: tl.constexpr,
    SUMS: tl.constexpr, BINS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Sum the voxels' own terms and count the voxels, per block; with SUMS what Dice and mL1-ACE need of each class.

    ``of_voxels`` (2, B, blocks), ``of_classes`` (3 or 7, B, K, blocks), float32; ``middle_bins`` (copies, 2, B, K, M), int64, zero before: the
    blocks add to one copy after the other, since additions to one number queue.
    """
    voxel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = voxel < voxels
    image = tl.program_id(1).to(tl.int64)
    images = tl.num_programs(1)
    block = tl.program_id(0)
    blocks = tl.num_programs(0)
    target += image * voxels
    own, valid = _labels(target, voxel, inside, ignore, IGNORE)
    first = logits + image * classes * voxels + voxel
    # NaN where no class is the label: what is wrong with it cannot be said from here, and must not go unseen
    named = valid & (own >= 0) & (own < classes)
    of_label = tl.load(first + own.to(tl.int64) * voxels, mask=named, other=float("nan")).to(tl.float32)
    here = first
    highest = tl.full((BLOCK,), LOWEST, tl.float32)
    total = tl.zeros((BLOCK,), tl.float32)
    added = tl.zeros((BLOCK,), tl.float32)
    value = _logits(here, inside, valid, IGNORE)
    for k in range(classes):
        here += voxels
        following = _logits(here, inside & (k + 1 < classes), valid, IGNORE)
        highest, total, _ = _add_exponential(highest, total, total, value, 0.0, False)
        if TERM == NACL_L1:
            added += tl.abs(value)
        if TERM == NACL_L2:
            added += value * value
        value = following
    normaliser = highest + tl.log(total)
    if TERM == SVLS:
        # the label itself is looked at for one reason only, that it is one of the classes
        loss = normaliser + tl.where(of_label == of_label, 0.0, of_label)
        factor = -1.0
    else:
        loss = highest - of_label + tl.log(total)
    if (TERM == NACL_L1) | (TERM == NACL_L2):
        loss += factor * added
    if TERM != CROSS_ENTROPY:
        placed = tl.minimum(voxel, voxels - 1)
        low, high = range_of_classes(target, placed, valid, own, depth, height, width, ignore, SZ, SY, SX, IGNORE)
        mixed = any_of(low < high)
        if not mixed:
            loss += factor * _more(of_label, 1.0, TERM)
        left = tl.full((BLOCK,), 1.0, tl.float32)
        # a round for two classes; as a `while` one version of Triton does not compile it
        for _ in range((classes + 3) // 2):
            if mixed:
                of_low, of_high, next_low, next_high = count(
                    target, placed, low, high, depth, height, width, weights, ignore, SZ, SY, SX, BOX, IGNORE
                )
                left -= of_low + of_high
                one_left = next_low == next_high
                loss += factor * _more_of(first, low, of_low, valid & (low <= high), classes, voxels, TERM)
                loss += factor * _more_of(first, high, of_high, valid & (low < high), classes, voxels, TERM)
                loss += factor * _more_of(first, next_low, left, valid & one_left, classes, voxels, TERM)
                low = tl.where(one_left, NO_CLASS, next_low)
                high = next_high
                mixed = any_of(low <= high)
    loss = tl.where(valid, loss, 0.0)
    tl.store(of_voxels + image * blocks + block, tl.sum(loss, 0))
    counted = tl.sum(valid.to(tl.int32), 0)
    tl.store(of_voxels + (images + image) * blocks + block, counted)
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
            of_all = tl.sum(probability, 0)
            held = 0
            of_mine = 0.0
            if (k >= lowest) & (k <= uppermost):
                held = tl.sum(mine.to(tl.int32), 0)
                of_mine = tl.sum(tl.where(mine, probability, 0.0), 0)
            tl.store(sums + PROBABILITY * apart, of_all)
            tl.store(sums + OWN * apart, held)
            tl.store(sums + OWN_PROBABILITY * apart, of_mine)
            if BINS:
                lower = _bin(probability, bins)
                # in most blocks, all voxels are in the first bin of most classes
                in_first = counted
                gap_of_first = of_all - held
                in_last = 0
                gap_of_last = 0.0
                if tl.max(lower, 0) > 0:
                    gap = tl.where(mine, probability - 1.0, probability)
                    # many voxels are in one of these two, where so many additions to one number would queue
                    is_first = valid & (lower == 0)
                    is_last = valid & (lower == bins - 1) & (lower > 0)
                    in_first = tl.sum(is_first.to(tl.int32), 0)
                    gap_of_first = tl.sum(tl.where(is_first, gap, 0.0), 0)
                    in_last = tl.sum(is_last.to(tl.int32), 0)
                    gap_of_last = tl.sum(tl.where(is_last, gap, 0.0), 0)
                    between = valid & (lower > 0) & (lower < bins - 1)
                    held_bins = middle_bins + ((2 * (block % copies) * images + image) * classes + k) * bins + lower
                    gap_bins = held_bins + images.to(tl.int64) * classes * bins
                    tl.atomic_add(held_bins, tl.full((BLOCK,), 1, tl.int64), mask=between, sem="relaxed")
                    tl.atomic_add(gap_bins, (gap * FIXED_POINT).to(tl.int64), mask=between, sem="relaxed")
                tl.store(sums + FIRST_BIN * apart, in_first)
                tl.store(sums + FIRST_GAP * apart, gap_of_first)
                tl.store(sums + LAST_BIN * apart, in_last)
                tl.store(sums + LAST_GAP * apart, gap_of_last)
            value = following


@triton.jit(do_not_specialize=SIZES)
def write_gradient(
    logits, target, weights, gradient, grad_output, counted, of_class, of_label, of_bin, classes, voxels, depth,
    height, width, ignore, factor, bins, TERM: tl.constexpr, IGNORE: tl.constexpr, BOX: tl.constexpr, SZ: tl.constexpr, SY: tl.constexpr,
    SX: tl.constexpr, SUMS: tl.constexpr, BINS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Write the gradient, in the dtype of the logits and times ``grad_output``.

    ``counted`` is the number of voxels that count. Of Dice and mL1-ACE come the derivatives by a probability: ``of_class`` (B, K), and
    ``of_label`` (B, K) where the class is the label, and ``of_bin`` (B, K, M).
    """
    voxel = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = voxel < voxels
    image = tl.program_id(1).to(tl.int64)
    target += image * voxels
    own, valid = _labels(target, voxel, inside, ignore, IGNORE)
    outer = tl.load(grad_output)
    scale = outer / tl.load(counted)
    logits += image * classes * voxels
    gradient += image * classes * voxels
    here = logits + voxel
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
            slope = _slope(own, k, of_class, of_label)
        highest, total, weighted = _add_exponential(highest, total, weighted, value, slope, SUMS and not BINS)
        value = following
    # as in the value, a label that no class has makes NaN
    normaliser = tl.where((own >= 0) & (own < classes), highest + tl.log(total), float("nan"))
    mean_slope = weighted / total
    if BINS:
        # the bin of a probability is known now only
        here = logits + voxel
        value = _logits(here, inside, valid, IGNORE)
        for k in range(classes):
            here += voxels
            following = _logits(here, inside & (k + 1 < classes), valid, IGNORE)
            probability = tl.exp(value - normaliser)
            slope = _slope(own, k, of_class, of_label)
            slope += _slope_of_bin(probability, k, of_bin, bins, valid)
            mean_slope += probability * slope
            value = following
    here = logits + voxel
    out = gradient + voxel
    value = _logits(here, inside, valid, IGNORE)
    for k in range(classes):
        here += voxels
        following = _logits(here, inside & (k + 1 < classes), valid, IGNORE)
        mine = tl.where(own == k, 1.0, 0.0)
        slope = mean_slope
        if SUMS:
            slope = _slope(own, k, of_class, of_label)
            if BINS:
                slope += _slope_of_bin(tl.exp(value - normaliser), k, of_bin, bins, valid)
        derivative = _derivative(value, normaliser, mine, mine, slope - mean_slope, scale, outer, factor, TERM, SUMS)
        derivative = tl.where(valid, derivative, 0.0)
        tl.store(out, derivative.to(gradient.dtype.element_ty), mask=inside)
        out += voxels
        value = following
    if TERM != CROSS_ENTROPY:
        placed = tl.minimum(voxel, voxels - 1)
        low, high = range_of_classes(target, placed, valid, own, depth, height, width, ignore, SZ, SY, SX, IGNORE)
        mixed = any_of(low < high)
        if mixed:
            # what follows need not be written by the thread that wrote a voxel above
            tl.debug_barrier()
        left = tl.full((BLOCK,), 1.0, tl.float32)
        # a round for two classes; as a `while` one version of Triton does not compile it
        for _ in range((classes + 3) // 2):
            if mixed:
                of_low, of_high, next_low, next_high = count(
                    target, placed, low, high, depth, height, width, weights, ignore, SZ, SY, SX, BOX, IGNORE
                )
                left -= of_low + of_high
                one_left = next_low == next_high
                _put_right(
                    logits, gradient, voxel, low, of_low, valid & (low <= high), own, normaliser, of_class, of_label, mean_slope, scale, outer,
                    factor, classes, voxels, TERM, SUMS,
                )  # fmt: skip
                _put_right(
                    logits, gradient, voxel, high, of_high, valid & (low < high), own, normaliser, of_class, of_label, mean_slope, scale, outer,
                    factor, classes, voxels, TERM, SUMS,
                )  # fmt: skip
                _put_right(
                    logits, gradient, voxel, next_low, left, valid & one_left, own, normaliser, of_class, of_label, mean_slope, scale, outer, factor,
                    classes, voxels, TERM, SUMS,
                )  # fmt: skip
                low = tl.where(one_left, NO_CLASS, next_low)
                high = next_high
                mixed = any_of(low <= high)
