"""Finished cases that survive a kill.

While a folder is evaluated, each finished case is a file of its own in ``.calibration_cases`` of the output folder, named by
its fingerprint. The finished run writes calibration_bins.npz, which holds the fingerprints too, and removes that folder. So
the next run finds each case that has not changed in one of the two, nothing hidden stays behind, and a case that
has left the prediction folder leaves the results.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from nnunet_nacl.errors import InputError
from nnunet_nacl.evaluation.bins_file import BINS_FILE, read_result, write_bins
from nnunet_nacl.evaluation.case_result import CaseResult
from nnunet_nacl.evaluation.folder_result import FolderResult

STORE_FOLDER = ".calibration_cases"


class CaseStore:
    """The finished cases of an output folder, by fingerprint.

    Args:
        output: the output folder; nothing is made in it before the first case is saved.
        protocol: written with each case.
    """

    def __init__(self, output: Path, protocol: dict[str, Any]) -> None:
        self._folder = output / STORE_FOLDER
        self._protocol = protocol
        self._of_last_run = _cases_by_fingerprint(output / BINS_FILE)

    def load(self, fingerprint: str) -> CaseResult | None:
        """Return the finished case of this fingerprint, or None; a damaged entry counts as none."""
        if not fingerprint:
            return None
        if fingerprint in self._of_last_run:
            return self._of_last_run[fingerprint]
        return _cases_by_fingerprint(self._path(fingerprint)).get(fingerprint)

    def save(self, result: CaseResult) -> None:
        """Keep a finished case; at once and whole, or not at all.

        Raises:
            InputError: the output folder cannot be written to.
        """
        if not result.fingerprint:
            return
        path = self._path(result.fingerprint)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            write_bins(FolderResult((result,), self._protocol, {}), path)
        except OSError as error:
            raise InputError(f"{path}: cannot be written ({error.strerror}).") from error

    def _path(self, fingerprint: str) -> Path:
        return self._folder / f"{fingerprint}.npz"


def clear_store(output: Path) -> None:
    """Remove the finished cases of a folder, once calibration_bins.npz holds them."""
    shutil.rmtree(output / STORE_FOLDER, ignore_errors=True)


def _cases_by_fingerprint(path: Path) -> dict[str, CaseResult]:
    try:
        return {result.fingerprint: result for result in read_result(path).cases if result.fingerprint}
    except InputError:
        return {}
