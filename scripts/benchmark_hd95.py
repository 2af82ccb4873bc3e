"""HD95 of 14 classes in a CT-like volume: ours beside MONAI's and a plain distance transform, on the same boxes.

python scripts/benchmark_hd95.py [--strays N] [--size Z Y X] [--without METHOD ...]
"""

from __future__ import annotations

import argparse
import time
import warnings

import numpy as np
import torch
from scipy.ndimage import binary_erosion, distance_transform_edt, find_objects

from nnunet_nacl.evaluation.surface import hd95, hd95_per_class

SPACING = (2.0, 0.8, 0.8)
CLASSES = range(1, 15)


def organs(size: tuple[int, ...], shift: float, strays: int, seed: int) -> np.ndarray:
    """Return a label map of 14 ellipsoids with rough surfaces, moved by ``shift`` voxels, and stray voxels of each."""
    anatomy, rng = np.random.default_rng(1), np.random.default_rng(seed)
    labels = np.zeros(size, np.uint8)
    for value in CLASSES:
        centre = anatomy.uniform(0.25, 0.75, 3) * size + rng.normal(scale=shift, size=3)
        radii = anatomy.uniform((0.03, 0.03, 0.03), (0.13, 0.17, 0.17)) * size if value > 1 else np.multiply(0.2, size)
        box = tuple(slice(max(int(c - r) - 2, 0), int(c + r) + 3) for c, r in zip(centre, radii, strict=True))
        grid = np.ogrid[tuple(slice(b.start, min(b.stop, side)) for b, side in zip(box, size, strict=True))]
        distance = sum(((axis - c) / r) ** 2 for axis, c, r in zip(grid, centre, radii, strict=True))
        labels[box][distance < 1 + rng.normal(scale=0.05, size=distance.shape)] = value
    for value in CLASSES:
        for _ in range(strays):
            labels[tuple(rng.integers(side) for side in size)] = value
    return labels


def by_monai(reference: np.ndarray, prediction: np.ndarray) -> float:
    """Return MONAI's HD95."""
    from monai.metrics import compute_hausdorff_distance

    masks = [torch.from_numpy(mask)[None, None] for mask in (prediction, reference)]
    return float(compute_hausdorff_distance(*masks, include_background=True, percentile=95, spacing=list(SPACING)))


def by_distance_transform(reference: np.ndarray, prediction: np.ndarray) -> float:
    """Return the HD95 from SciPy's exact distance transform of the box."""
    first, second = (mask & ~binary_erosion(mask) for mask in (reference, prediction))
    return max(
        np.percentile(distance_transform_edt(~second, sampling=SPACING)[first], 95),
        np.percentile(distance_transform_edt(~first, sampling=SPACING)[second], 95),
    )


def main() -> None:
    """Print CPU seconds per method, so that what else runs does not count, and the largest difference from ours."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, nargs=3, default=(300, 512, 512))
    parser.add_argument("--strays", type=int, default=0, help="stray voxels per class in the prediction")
    parser.add_argument("--without", nargs="*", default=[], help="names of methods to leave out")
    parsed = parser.parse_args()
    warnings.simplefilter("ignore")
    size = tuple(parsed.size)
    labels, prediction = organs(size, 0, 0, 2), organs(size, 1.5, parsed.strays, 3)
    start = time.process_time()
    ours = hd95_per_class(labels, prediction, CLASSES, SPACING)
    print(f"hd95_per_class {time.process_time() - start:.1f} CPU s", flush=True)
    boxes = [
        tuple(slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(*pair, strict=True))
        for pair in zip(find_objects(labels), find_objects(prediction), strict=True)
    ]
    print("voxels in the boxes", f"{sum(labels[box].size for box in boxes):,}")
    for method in (lambda a, b: hd95(a, b, SPACING), by_distance_transform, by_monai):
        name = method.__name__.replace("<lambda>", "hd95")
        if name in parsed.without:
            continue
        start = time.process_time()
        found = [
            method(labels[box] == value, prediction[box] == value) for value, box in zip(CLASSES, boxes, strict=True)
        ]
        print(
            f"{name} {time.process_time() - start:.1f} CPU s, differs by {np.abs(ours - found).max():.1e} mm",
            flush=True,
        )


if __name__ == "__main__":
    main()
