"""Make docs/images/report_worst_cases.webp: `python scripts/render_report_pictures.py`. Needs Chromium and chromedriver.

The phantom as its true posterior sees it, and a sharpened copy (probabilities to the power of 2.5).
"""

from __future__ import annotations

import base64
import io
import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from nnunet_nacl.benchmark.tasks.phantom import write_task
from nnunet_nacl.cli import main

IMAGES = Path(__file__).parents[1] / "docs" / "images"
LABELS = {"background": 0, "body": 1, "cap": 2}
DATASET = {"labels": LABELS, "channel_names": {"0": "phantom"}, "file_ending": ".nii.gz", "numTraining": 18}
PLANS = {"dataset_name": "Dataset099_Phantom", "image_reader_writer": "SimpleITKIO", "label_manager": "LabelManager"}
POWERS = {"true_posterior": 1.0, "sharpened": 2.5}


def evaluated(folder: Path) -> list[Path]:
    """Write the task and the networks into a folder, and return their results."""
    task = folder / "Task99_Phantom"
    write_task(task, n_cases=18, size=32, seed=3)
    (folder / "dataset.json").write_text(json.dumps(DATASET))
    (folder / "plans.json").write_text(json.dumps(PLANS | {"plans_name": "nnUNetPlans", "configurations": {}}))
    (folder / "imagesTr").mkdir()
    for path in (task / "imagesTr").glob("*.nii.gz"):
        shutil.copy(path, folder / "imagesTr" / path.name.replace(".nii.gz", "_0000.nii.gz"))
    files = ["-gt", task / "labelsTr", "-djfile", folder / "dataset.json", "-pfile", folder / "plans.json"]
    for name, power in POWERS.items():
        (folder / name).mkdir()
        for path in (task / "posteriorTr").glob("*.npz"):
            posterior = np.load(path)["probabilities"].astype(float)
            changed = posterior**power
            np.savez_compressed(folder / name / path.name, probabilities=(changed / changed.sum(0)).astype(np.float32))
        assert main(["evaluate", *map(str, [folder / name, *files])]) == 0
    return [folder / name for name in POWERS]


def shoot(page: Path, width: int, first: str, last: str, target: Path) -> None:
    """Save what lies between the top of one element and the bottom of another, each given by a CSS selector."""
    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(argument)
    options.binary_location = shutil.which("chromium") or shutil.which("google-chrome") or ""
    # named, so that selenium looks for none on the network
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    driver.get(page.as_uri())
    edge = "return document.querySelector(arguments[0]).getBoundingClientRect()[arguments[1]] + scrollY"
    top, bottom = driver.execute_script(edge, first, "top"), driver.execute_script(edge, last, "bottom")
    clip = {"x": 0, "y": top, "width": width, "height": bottom - top + 12, "scale": 1}
    shot = driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
    driver.quit()
    Image.open(io.BytesIO(base64.b64decode(shot["data"]))).save(target, "webp", quality=88)
    print(f"wrote {target}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        runs = evaluated(folder)
        page = folder / "report.html"
        assert main(["report", *map(str, [*runs, "--images", folder / "imagesTr", "--worst", "2", "-o", page])]) == 0
        shoot(page, 1180, "#worst", "#worst .case:last-of-type", IMAGES / "report_worst_cases.webp")
