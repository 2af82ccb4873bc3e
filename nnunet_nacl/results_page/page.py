"""The page of one task."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from nnunet_nacl.results_page.comparison_tables import comparison_section
from nnunet_nacl.results_page.convergence import convergence_table
from nnunet_nacl.results_page.header import SMALL_SCALE, caveats_section, header_section
from nnunet_nacl.results_page.markdown import block, code, text, wrapped
from nnunet_nacl.results_page.marks import Marks
from nnunet_nacl.results_page.scaling_tables import scaling_section
from nnunet_nacl.results_page.score_tables import score_section
from nnunet_nacl.results_page.task_results import TaskResults


@dataclass(frozen=True)
class Figures:
    """Names of the figures beside the page; None where there is none."""

    reliability: str
    curves: str | None


def page(results: TaskResults, configuration: str, figures: Figures, output: Path, today: date) -> str:
    """Return the page as Markdown.

    Args:
        results: of the task.
        configuration: content of benchmark.yaml.
        figures: beside the page.
        output: folder of the page, named in the command that makes it.
        today: date of the page.
    """
    marks = Marks(results)
    parts = [
        f"# {code(results.task.name)}: results{f' of a {SMALL_SCALE}' if results.study.shortened else ''}",
        "\n".join(header_section(results, today)),
        "## Before you read the tables",
        "The protocol is the page *Protocol of the benchmark* in the documentation of nnunet-nacl.",
        "\n".join(caveats_section(results)),
        "## 1. Scores",
        *score_section(results, marks),
        "## 2. Differences from the baseline",
        *_differences(results, marks),
        "## 3. After recalibration",
        *scaling_section(results, marks),
        "## 4. Reliability diagrams",
        *_reliability(results, figures),
        "## 5. Learning curves",
        *_curves(results, figures),
        "## 6. How to make this again",
        *_again(results, configuration, output),
        "## 7. Where the numbers come from",
        *_sources(results),
    ]
    return "\n\n".join(parts) + "\n"


def _differences(results: TaskResults, marks: Marks) -> Iterator[str]:
    if len(results.study.trainers) == 1:
        yield wrapped("The study has one trainer: there is nothing to compare with.")
    elif results.comparison is None:
        yield wrapped("There is no comparison with the baseline yet.")
    else:
        yield from comparison_section(results.comparison, marks, "###")
    for name, content in results.further.items():
        parts = content.get("parts")
        where = f" (cases of {text(', '.join(map(str, parts)))})" if isinstance(parts, list) else ""
        yield f"### Further comparison {code(name)}{where}"
        yield from comparison_section(content, marks, "####")


def _reliability(results: TaskResults, figures: Figures) -> Iterator[str]:
    yield f"![Reliability diagrams]({figures.reliability})"
    scaled = any(each.tempered is not None for each in results.trainers)
    yield wrapped(
        "Predicted class, voxel set `predicted`, the voxels of all cases pooled: accuracy over mean confidence of each of the bins; on the "
        "dashed line confidence is right, below it too high. Below: the share of the voxels in each bin. Hollow dots hold less than "
        f"0.1 % of the voxels. The ECE is that of the pooled voxels{', before → after scaling' if scaled else ''}; the tables have the mean of cases."
    )


def _curves(results: TaskResults, figures: Figures) -> Iterator[str]:
    if figures.curves is not None:
        yield f"![Learning curves]({figures.curves})"
    elif results.curves is None:
        yield wrapped("There are no learning curves.")
    if results.curves is not None:
        yield from convergence_table(results)
        yield wrapped(
            "Converged by the protocol: at least 3000 iterations, and the mean pseudo Dice over the last tenth of the epochs is at most 0.01 above the mean over the "
            "tenth that starts at three quarters."
        )


def _again(results: TaskResults, configuration: str, output: Path) -> Iterator[str]:
    folder = shlex.quote(results.study.folder.name)
    yield wrapped(f"With this `benchmark.yaml` in a folder {code(results.study.folder.name)}:")
    yield block(configuration, "yaml")
    yield block(
        f"nnunet-nacl benchmark run {folder}\nnnunet-nacl benchmark results {folder} -o {shlex.quote(output.name)}",
        "bash",
    )
    yield wrapped(
        "nnU-Net does not seed its trainings: new ones give other numbers. The intervals over cases do not contain that; how much the "
        "folds differ gives an idea of it."
    )


def _sources(results: TaskResults) -> Iterator[str]:
    yield wrapped(
        "Each file in the study's folder, with the beginning of its SHA-256. `calibration_bins.npz` beside each `calibration.json` "
        "has the sums from which its scores follow."
    )
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}  {path.relative_to(results.study.folder)}"
        for path in sorted(set(results.sources))
    ]
    yield block("\n".join(lines), "text")
