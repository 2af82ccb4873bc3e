"""What a case's result depends on, as one short text: the same fingerprint means that nothing has to be computed again."""

from __future__ import annotations

import hashlib
import json
import zipfile
from dataclasses import fields
from typing import Any

from nnunet_nacl import __version__
from nnunet_nacl.calibration import CalibrationStatistics
from nnunet_nacl.evaluation.case_result import CaseResult
from nnunet_nacl.evaluation.cases import Case
from nnunet_nacl.evaluation.dataset import Dataset
from nnunet_nacl.evaluation.label_files import files_read, spacing_files
from nnunet_nacl.evaluation.protocol import SCHEMA_VERSION


def fingerprint(case: Case, protocol: dict[str, Any], dataset: Dataset) -> str:
    """Return a digest of the case's files, the protocol and this version of the program; empty where a file is unreadable.

    Of the softmax file it takes the zip directory, which holds CRC-32 and size of each member: a fingerprint of the
    probabilities at the cost of reading a hundred bytes, where hashing the file takes as long as evaluating it. The label
    file and the saved segmentation are small and are hashed whole, with all files that their reader reads beside them. So it notices every case that was predicted or labelled anew (two different volumes
    of the same size share a CRC-32 once in 2**32), whatever names and times say, and lets copies and renamed files pass. It
    does not notice bytes that rot inside a member, which no prediction does, and a CRC-32 forged on purpose.

    Args:
        case: whose files are looked at, but not its name.
        protocol: see :func:`~nnunet_nacl.evaluation.protocol.protocol_of`.
        dataset: names nnU-Net's reader of the label file.
    """
    try:
        with zipfile.ZipFile(case.probabilities) as archive:
            members = [
                (member.filename, member.CRC, member.file_size, member.compress_size) for member in archive.infolist()
            ]
        elsewhere = spacing_files(case, dataset)
        files = [
            [hashlib.blake2b(path.read_bytes()).hexdigest() for path in files_read(read, dataset, elsewhere)]
            for read in (case.labels, case.segmentation)
            if read is not None
        ]
    except (
        Exception
    ):  # zipfile fails on damaged files in many ways: struct.error, UnicodeDecodeError, NotImplementedError, ...
        # evaluating the case will say what is wrong with it
        return ""
    sums = [field.name for each in (CalibrationStatistics, CaseResult) for field in fields(each)]
    schema = [__version__, SCHEMA_VERSION, sums]
    # not sorted: the order of the regions in the protocol is the order of the channels
    text = json.dumps([schema, protocol, dataset.reader, members, files])
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
