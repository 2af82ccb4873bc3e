"""Maps as NIfTI files that lie where the case lies.

**Geometry.** The affine of the segmentation (or label) file (:mod:`nnunet_nacl.evaluation.geometry`) is written as sform, and as
qform where it has no shear. A two-dimensional case gives a two-dimensional NIfTI.

**Encoding.** 16-bit integers with a power of two as ``scl_slope`` take half of float32 and show 0, 1 and -1 exactly, in steps of
3e-5 (6e-5 with a sign). 8 bits would show 0.9999 as 1, and the difference is what confidence maps are for. ITK applies the slope when it
reads (a test holds that for SimpleITK), and ITK-SNAP and 3D Slicer read NIfTI through ITK; nibabel and FSL apply it too.
SimpleITK cannot write one, so nibabel does.
"""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from nnunet_nacl.files.whole_file import replacing

SLOPE = 2.0**-15
SLOPE_SIGNED = 2.0**-14

ENDING = ".nii.gz"


def write_map(
    values: NDArray[np.floating[Any]], signed: bool, affine: NDArray[np.float64], dimensions: int, name: str, path: Path
) -> None:
    """Write a map.

    Args:
        values: ``(z, y, x)`` between 0 and 1, or -1 and 1 if ``signed``; values outside are cut off.
        signed: whether there are negative values.
        affine: ``(4, 4)``, from voxel indices (x, y, z) to mm in RAS.
        dimensions: 2 drops the first axis, which has one voxel then.
        name: what the map shows, for the header's ``descrip`` (at most 79 bytes).
        path: file ending in ``.nii.gz``.
    """
    slope, lowest, dtype = (SLOPE_SIGNED, -1, np.int16) if signed else (SLOPE, 0, np.uint16)
    codes = np.rint(np.clip(values, lowest, 1) / slope).astype(dtype)
    if dimensions == 2:
        codes = codes[0]
    make: Any = nibabel.Nifti1Image  # nibabel carries types for some of its functions only
    image = make(codes.T, affine, dtype=dtype)
    header = image.header
    header.set_slope_inter(slope, 0)
    header.set_xyzt_units("mm")
    header["descrip"] = name.encode()[:79]
    header["cal_min"], header["cal_max"] = lowest, 1
    image.set_sform(affine, code="scanner")
    image.set_qform(affine, code="scanner", strip_shears=True)
    if not np.allclose(image.get_qform(), affine, atol=1e-3):
        image.set_qform(None, code="unknown")
    # the name and the time that gzip would put into the file are those of no interest
    with (
        replacing(path) as temporary,
        temporary.open("wb") as raw,
        gzip.GzipFile("", "wb", compresslevel=6, fileobj=raw, mtime=0) as file,
    ):
        image.to_stream(file)
