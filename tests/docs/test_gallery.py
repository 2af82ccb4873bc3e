"""docs/gallery: each script runs in an empty folder, its page says what it prints, and its pictures are there."""

import importlib.util
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from pages import ROOT

from nnunet_nacl.cli import main

GALLERY = ROOT / "docs" / "gallery"
SCRIPTS = sorted(GALLERY.glob("*.py"))
PICTURE = re.compile(r"!\[[^\]]+\]\(\.\./images/([^)]+)\)")
LARGEST = 100_000  # bytes


@pytest.fixture(scope="module")
def renderer():
    spec = importlib.util.spec_from_file_location("render_gallery", ROOT / "scripts" / "render_gallery.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_the_page_is_what_the_script_gives(script, tmp_path):
    command = [sys.executable, ROOT / "scripts" / "render_gallery.py", script, "-o", tmp_path / "docs"]
    rendered = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert rendered.returncode == 0, rendered.stderr
    page = (GALLERY / f"{script.stem}.md").read_text(encoding="utf-8")
    assert (tmp_path / "docs" / "gallery" / f"{script.stem}.md").read_text(encoding="utf-8") == page
    pictures = PICTURE.findall(page)
    assert pictures
    made = {path.name for path in (tmp_path / "docs" / "images").iterdir()}
    assert made == set(pictures)
    for name in pictures:
        for picture in (tmp_path / "docs" / "images" / name, ROOT / "docs" / "images" / name):
            content = picture.read_bytes()
            assert b"<svg" in content
            assert len(content) < LARGEST


def test_one_line_makes_it_the_readers_own(phantom_task, dataset_files, tmp_path):
    """As a plain script, with OWN set; what nnU-Net leaves beside predictions is put beside these."""
    predictions = tmp_path / "predictions"
    shutil.copytree(phantom_task / "posteriorTr", predictions)
    for file in dataset_files:
        shutil.copy(file, predictions)
    text = (GALLERY / "is_my_model_overconfident.py").read_text(encoding="utf-8")
    own = re.sub(r"^OWN = None.*$", f"OWN = {(str(phantom_task / 'labelsTr'), str(predictions))}", text, flags=re.M)
    assert own != text
    (tmp_path / "mine.py").write_text(own)
    run = subprocess.run([sys.executable, "mine.py"], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "mine: 6 cases" in run.stdout
    assert re.search(r"^temperature \d\.\d\d where ", run.stdout, re.MULTILINE)
    assert (tmp_path / "gallery_overconfident" / "where.svg").is_file()
    assert not (tmp_path / "gallery_overconfident" / "Task99_Phantom").exists()


def test_one_line_makes_the_comparison_the_readers_own(phantom_task, dataset_files, tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    for folder, power in ((old, 2), (new, 1)):
        folder.mkdir()
        for file in (phantom_task / "posteriorTr").glob("*.npz"):
            raised = np.load(file)["probabilities"] ** power
            np.savez_compressed(folder / file.name, probabilities=raised / raised.sum(0))
        files = ["-djfile", str(dataset_files[0]), "-pfile", str(dataset_files[1]), "-np", "1"]
        assert main(["evaluate", str(folder), "-gt", str(phantom_task / "labelsTr"), *files]) == 0
    text = (GALLERY / "compare_two_trainings.py").read_text(encoding="utf-8")
    own = re.sub(r"^OWN = None.*$", f"OWN = {(str(old), str(new))}", text, flags=re.M)
    assert own != text
    (tmp_path / "mine.py").write_text(own)
    run = subprocess.run([sys.executable, "mine.py"], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert "new against old, 6 cases" in run.stdout
    assert (tmp_path / "gallery_compare" / "pairs.svg").is_file()
    assert not (tmp_path / "gallery_compare" / "Task99_Phantom").exists()


def test_cells(renderer):
    script = "# %% [markdown]\n# # Title\n#\n# text\n\n\n# %%\nx = 1\n# a comment\n"
    assert renderer.cells(script) == [(True, "# Title\n\ntext"), (False, "x = 1\n# a comment")]
