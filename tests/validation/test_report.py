"""The report on a result of `validate`: it predicts the cases that it pictures again, or says in one line why it cannot."""

import pytest
import torch
from models import CASES, Variant

from nnunet_nacl.cli import main

pytestmark = pytest.mark.nnunet


def test_worst_cases_are_pictured(nnunet, tmp_path, capsys):
    made = Variant(nnunet, tmp_path)
    page = tmp_path / "report.html"

    def report():
        capsys.readouterr()
        assert main(["report", str(made.model), "-o", str(page)]) == 0
        return capsys.readouterr().err.strip().splitlines(), page.read_text().count("<image")

    with made.variables():
        for fold in range(2):
            made.trainer(fold)
        assert main(["validate", str(made.model), "-device", "cpu", "--keep", "float16"]) == 0
        _, from_files = report()
        assert from_files > 0
        for fold, case in enumerate(CASES):
            (made.model / f"fold_{fold}" / "validation" / f"{case}.npz").unlink()
        said, predicted_again = report()
        assert sorted(said) == [
            f"predicting {case} again for its pictures (--worst 0 leaves them out)" for case in sorted(CASES)
        ]
        assert predicted_again == from_files
        made.trainer(2)  # a network that is another one
        other = made.model / "fold_2" / "checkpoint_final.pth"
        other.replace(made.model / "fold_0" / "checkpoint_final.pth")
        said, of_one = report()
        (why,) = (line for line in said if not line.startswith("predicting "))
        assert "No pictures for 1 of 2 worst cases" in why and "has changed since it was validated" in why
        assert 0 < of_one < from_files
    torch.set_num_threads(1)
