"""NACL, SVLS, CRaC, mL1-ACE and nnU-Net's soft Dice written plainly, for autograd to differentiate: what the fast forms have to equal."""

import torch
import torch.nn.functional as F

from nnunet_nacl.losses import soft_class_proportions


def masked_mean(per_voxel, valid):
    """Mean of (B, 1, *spatial) over valid voxels, 0 where there is none."""
    return (per_voxel * valid).sum() / valid.sum().clamp(min=1)


def labels_of(target, num_classes, ignore_label):
    valid = target != (num_classes + 1000 if ignore_label is None else ignore_label)
    return target.masked_fill(~valid, 0), valid


def proportions_of_regions(masks, valid, dtype, **window):
    """Each region alone is a map of two labels; ignored voxels are a third."""
    per_region = []
    for region in range(masks.shape[1]):
        labels = masks[:, region : region + 1].long().masked_fill(~valid, 2)
        per_region.append(soft_class_proportions(labels, 2, ignore_label=2, dtype=dtype, **window)[:, 1:])
    return torch.cat(per_region, 1)


def nacl(logits, target, weight, norm, class_reduction, ignore_label=None, **window):
    labels, valid = labels_of(target, logits.shape[1], ignore_label)
    tau = soft_class_proportions(target, logits.shape[1], ignore_label=ignore_label, dtype=logits.dtype, **window)
    cross_entropy = F.cross_entropy(logits, labels[:, 0], reduction="none").unsqueeze(1)
    return masked_mean(cross_entropy + weight * distance(tau, logits, norm, class_reduction), valid)


def nacl_regions(logits, masks, valid, weight, norm, class_reduction, **window):
    tau = proportions_of_regions(masks, valid, logits.dtype, **window)
    cross_entropy = F.binary_cross_entropy_with_logits(logits, masks.to(logits.dtype), reduction="none")
    return masked_mean(
        cross_entropy.mean(1, keepdim=True) + weight * distance(tau, logits, norm, class_reduction), valid
    )


def distance(tau, logits, norm, class_reduction):
    difference = (tau - logits).abs() if norm == "l1" else (tau - logits).square()
    return difference.mean(1, keepdim=True) if class_reduction == "mean" else difference.sum(1, keepdim=True)


def svls(logits, target, ignore_label=None, **window):
    _, valid = labels_of(target, logits.shape[1], ignore_label)
    s = soft_class_proportions(
        target, logits.shape[1], kernel="svls", ignore_label=ignore_label, dtype=logits.dtype, **window
    )
    return masked_mean(F.cross_entropy(logits, s, reduction="none").unsqueeze(1), valid)


def svls_raters(logits, target, ignore_label=None, **window):
    """Several raters: votes and numbers of opinions per voxel, each under the dense kernel, then their ratio."""
    num_classes = logits.shape[1]
    labels, valid = labels_of(target, num_classes, ignore_label)
    votes = (F.one_hot(labels, num_classes).movedim(-1, 2) * valid.unsqueeze(2)).sum(1)  # (B, K, *spatial)
    kernel = svls_kernel(target.ndim - 2, logits.dtype, **window)
    opinions = correlate(valid.sum(1, keepdim=True), kernel)
    s = correlate(votes, kernel) / opinions.where(opinions > 0, 1)
    cross_entropy = -(s * logits.log_softmax(1)).sum(1, keepdim=True)
    return masked_mean(cross_entropy, valid.any(1, keepdim=True))


def svls_kernel(spatial_axes, dtype, kernel_size=3, sigma=1.0):
    offsets = torch.arange(kernel_size, dtype=dtype) - kernel_size // 2
    squared = sum(axis**2 for axis in torch.meshgrid(*[offsets] * spatial_axes, indexing="ij"))
    kernel = torch.exp(-squared / (2 * sigma**2))
    centre = (kernel_size // 2,) * spatial_axes
    kernel[centre] = 0
    kernel[centre] = kernel.sum()
    return kernel / kernel.sum()


def correlate(values, kernel):
    spatial_axes, half = kernel.ndim, kernel.shape[0] // 2
    padded = F.pad(values.to(kernel.dtype), [half] * 2 * spatial_axes, mode="replicate")
    conv = (F.conv1d, F.conv2d, F.conv3d)[spatial_axes - 1]
    single = conv(padded.flatten(0, 1).unsqueeze(1), kernel[None, None])
    return single.reshape(values.shape)


def svls_regions(logits, masks, valid, **window):
    s = proportions_of_regions(masks, valid, logits.dtype, kernel="svls", **window)
    return masked_mean(F.binary_cross_entropy_with_logits(logits, s, reduction="none").mean(1, keepdim=True), valid)


def crac(logits, target, margin, lambdas, rhos, ignore_label=None, kernel_size=3):
    """The PHR penalty of 2K masked constraints per voxel, as the augmented Lagrangian has them."""
    num_classes = logits.shape[1]
    labels, valid = labels_of(target, num_classes, ignore_label)
    one_hot = F.one_hot(labels[:, 0], num_classes).movedim(-1, 1).bool() & valid
    boundary = holds_several(one_hot, kernel_size).expand_as(one_hot)
    tau = soft_class_proportions(target, num_classes, kernel_size, ignore_label=ignore_label, dtype=logits.dtype)
    cross_entropy = F.cross_entropy(logits, labels[:, 0], reduction="none").unsqueeze(1)
    return masked_mean(cross_entropy + lagrangian(tau, logits, boundary, margin, lambdas, rhos), valid)


def crac_regions(logits, masks, valid, margin, lambdas, rhos, kernel_size=3):
    boundary = torch.cat(
        [
            holds_several(torch.cat([masks[:, [region]] & valid, ~masks[:, [region]] & valid], 1), kernel_size)
            for region in range(masks.shape[1])
        ],
        1,
    )
    tau = proportions_of_regions(masks, valid, logits.dtype, kernel_size=kernel_size)
    cross_entropy = F.binary_cross_entropy_with_logits(logits, masks.to(logits.dtype), reduction="none")
    penalty = lagrangian(tau, logits, boundary, margin, lambdas, rhos)
    return masked_mean(cross_entropy.mean(1, keepdim=True) + penalty, valid)


def holds_several(members, kernel_size):
    """Where more than one channel of (B, C, *spatial) has a voxel in the window, (B, 1, *spatial)."""
    spatial_axes = members.ndim - 2
    padded = F.pad(members.double(), [kernel_size // 2] * 2 * spatial_axes)  # with nothing, which is no neighbour
    pool = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[spatial_axes - 1]
    return pool(padded, kernel_size, stride=1).sum(1, keepdim=True) > 1


def lagrangian(tau, logits, boundary, margin, lambdas, rhos):
    constraints = torch.cat([(tau - logits).abs() * boundary, (margin * tau - logits).abs() * ~boundary], 1)
    shape = (1, -1, *[1] * (logits.ndim - 2))
    return phr(constraints, lambdas.to(logits).reshape(shape), rhos.to(logits).reshape(shape)).mean(1, keepdim=True)


def phr(h, lambdas, rhos):
    """The Powell-Hestenes-Rockafellar penalty with both its branches."""
    return torch.where(lambdas + rhos * h >= 0, lambdas * h + rhos * h**2 / 2, -(lambdas**2) / (2 * rhos))


def calibration_error(probabilities, onehot, valid, bins, binning):
    """mL1-ACE as its definition reads, one image, class and bin after the other."""
    total = 0.0
    for p_image, y_image, valid_image in zip(probabilities, onehot, valid, strict=True):
        for p, y in zip(p_image, y_image, strict=True):
            p, y = p[valid_image[0]], y[valid_image[0]]
            gaps = []
            for m in range(bins):
                if binning == "hard":
                    share = ((p > m / bins) | ((p == 0) & (m == 0))) & (p <= (m + 1) / bins)
                    share = share.to(p.dtype)
                else:
                    # a hat of height 1 over the bin's centre; the outermost ones stay at 1 outwards
                    share = (1 - (p.clamp(0.5 / bins, 1 - 0.5 / bins) * bins - 0.5 - m).abs()).relu()
                if share.sum() >= 0.01:
                    gaps.append(((share * p).sum() / share.sum() - (share * y).sum() / share.sum()).abs())
            if y.sum() > 0:
                total = total + torch.stack(gaps).mean()
    return total / (probabilities.shape[0] * probabilities.shape[1])


def l1ace(logits, target, weight, bins, binning, ignore_label=None):
    valid = target != ignore_label if ignore_label is not None else torch.ones_like(target, dtype=torch.bool)
    labels = target.masked_fill(~valid, 0)
    onehot = F.one_hot(labels[:, 0], logits.shape[1]).movedim(-1, 1).to(logits.dtype)
    cross_entropy = F.cross_entropy(logits, labels[:, 0], reduction="none")[valid[:, 0]].mean()
    return cross_entropy + weight * calibration_error(logits.softmax(1), onehot, valid, bins, binning)


def l1ace_regions(logits, masks, valid, weight, bins, binning):
    inside = masks.to(logits.dtype)
    cross_entropy = F.binary_cross_entropy_with_logits(logits, inside, reduction="none").mean(1)[valid[:, 0]].mean()
    return cross_entropy + weight * calibration_error(logits.sigmoid(), inside, valid, bins, binning)


def soft_dice(logits, target, batch_dice, do_bg, smooth, ignore_label=None):
    """Minus the mean over images, or over the batch as one, and classes of 2 |P and Y| / (|P| + |Y|), as nnU-Net has it."""
    labels, valid = labels_of(target, logits.shape[1], ignore_label)
    onehot = F.one_hot(labels[:, 0], logits.shape[1]).movedim(-1, 1) * valid
    probabilities = logits.softmax(1) * valid
    overlap, size = ((item).flatten(2).sum(2) for item in (probabilities * onehot, probabilities + onehot))
    if batch_dice:
        overlap, size = overlap.sum(0, keepdim=True), size.sum(0, keepdim=True)
    dice = (2 * overlap + smooth) / (size + smooth).clamp(min=1e-8)
    return -(dice if do_bg else dice[:, 1:]).mean()
