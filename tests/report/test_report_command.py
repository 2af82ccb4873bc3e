"""`nnunet-nacl report`: complete in itself, the same each time, safe with hostile names."""

import copy
import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from nnunet_nacl.cli import main
from nnunet_nacl.report.case_files import Given
from nnunet_nacl.report.html import render
from nnunet_nacl.report.page_content import Options, prepare_page
from nnunet_nacl.report.prepare_slices import prepare_slices
from nnunet_nacl.study.decision_quality import decision_quality
from nnunet_nacl.study.run import load_run

HOSTILE = (
    "<script>window.hacked=1</script>",
    "\"><img src=x onerror='window.hacked=1'>",
    "</script><script>window.hacked=1</script>",
    "</title></style><svg onload=window.hacked=1>",
    "' onmouseover='window.hacked=1",
    "{{ 7 * 7 }}",
)


ROW = re.compile('<tr class="([^"]*)">')


class Elements(HTMLParser):
    """The tags of a page with their attributes, and its text."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.text = [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text.append(data)

    def of(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def report(tmp_path, *arguments):
    path = tmp_path / "report.html"
    assert main(["report", *map(str, arguments), "-o", str(path)]) == 0
    return path.read_text(encoding="utf-8")


def hostile_run(folder):
    """A run whose cases, labels, paths and name are markup."""
    run = load_run(folder)
    summary = copy.deepcopy(run.summary)
    names = {}
    for number, case in enumerate(summary["metric_per_case"]):
        names[case["case"]] = case["case"] = f"{HOSTILE[number % len(HOSTILE)]}{number}"
        case["prediction_file"] = case["reference_file"] = HOSTILE[1]
    summary["protocol"]["labels"] = {"0": HOSTILE[0], "1": HOSTILE[1], "2": HOSTILE[3]}
    summary["protocol"]["voxel_sets"]["all"] = HOSTILE[2]
    summary["protocol"][HOSTILE[0]] = HOSTILE[1]
    summary["provenance"]["command"] = HOSTILE[2]
    summary["provenance"]["files"]["labels"] = HOSTILE[4]
    problems = dict(zip(names.values(), run.problems.values(), strict=True))
    return replace(run, name=HOSTILE[3], summary=summary, problems=problems)


def test_nothing_is_loaded_from_elsewhere(evaluated, tmp_path):
    page = report(tmp_path, evaluated.sharp, "--images", evaluated.images)
    elements = Elements(page)
    assert {attributes["href"][:5] for attributes in elements.of("image")} == {"data:"}
    assert [attributes.get("src") for attributes in elements.of("script")] == [None]
    assert [attributes["rel"] for attributes in elements.of("link")] == ["icon"]
    assert all(attributes["href"].startswith("#") for attributes in elements.of("a"))
    assert not re.search(r"https?:|@import|url\((?!#)", page)
    (policy,) = [each["content"] for each in elements.of("meta") if each.get("http-equiv")]
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'sha256-")
    assert "unsafe" not in policy


def test_what_one_run_shows(evaluated, tmp_path):
    page = report(tmp_path, evaluated.sharp, "--images", evaluated.images, "--worst", 2)
    text = "".join(Elements(page).text)
    ece = load_run(evaluated.sharp).summary["per_case"]["predicted"]["ECE"]
    for expected in ("Task99_Phantom", "overconfident by", f"{ece:.3f}", "How to read this", "Only 6 cases"):
        assert expected in text
    assert page.count('class="reliability"') == 5 * (1 + 3)
    assert page.count('class="slice"') == 2 * 5
    assert page.count('<tr><th scope="row">phantom<wbr>_') == 6
    assert "nterval" in text and "Paired differences" not in text


def test_several_runs_are_held_against_the_first(evaluated, tmp_path):
    page = report(tmp_path, evaluated.truth, evaluated.sharp, "--worst", 1)
    text = "".join(Elements(page).text)
    assert "Paired differences" in text and "adjusted (Holm)" in text
    assert page.count('class="strip"') == 1 + 2 * 5  # Dice, and ECE and NLL in each voxel set
    means = [load_run(folder).summary["per_case"]["predicted"]["ECE"] for folder in (evaluated.truth, evaluated.sharp)]
    assert f"{means[1] - means[0]:+.4f}" in text
    assert page.count('<tr><th scope="row">phantom<wbr>_') == 12


def test_folds_and_verdict_of_the_protocol(evaluated):
    """As merged from three folds; the sharpened run with a Dice far below, so that its calibration figures are grey."""
    runs = [load_run(evaluated.truth), load_run(evaluated.sharp)]
    without = render(prepare_page(runs, Options()))
    assert "per fold:" not in without and "greyed" not in "".join(ROW.findall(without))
    said = "".join(Elements(without).text)
    assert "no answer, since neither base nor run knows which fold" in said
    assert "not judged" not in said and "Verdict" not in said, "said once"
    folded = []
    for lower, run in enumerate(runs):
        summary = copy.deepcopy(run.summary)
        for number, case in enumerate(summary["metric_per_case"]):
            case["part"] = f"fold_{number % 3}"
            for metrics in case["metrics"].values():
                metrics["Dice"] -= 0.3 * lower
        folded.append(replace(run, summary=summary))
    page = render(prepare_page(folded, Options()))
    text = "".join(Elements(page).text)
    assert (
        "sharp: not judged: no answer with fewer than 5 trainings of different folds, and these are 3; calibration"
        in text
    )
    assert "figures greyed out, since mean Dice is 0.3000 lower" in text
    assert text.count("per fold:") == 1 + 2 * 5
    assert "per fold: -0.3000, -0.3000, -0.3000, same sign" in text
    rows = [row for row in ROW.findall(page) if "greyed" in row]
    assert len(rows) == 2 * 5  # all but Dice
    assert "This trainer, trained again" in text and "These networks, other patients" in text
    assert "sharp: no answer with fewer than 5 trainings of different folds, and these are 3." in text
    assert "Mean over trainings" not in text
    for run in folded:
        for number, case in enumerate(run.summary["metric_per_case"]):
            case["part"] = f"fold_{number % 5}"
    five = "".join(Elements(render(prepare_page(folded, Options()))).text)
    assert "sharp: loss: worse in Dice, by Dice alone" in five
    assert "Mean over trainings" in five and "-0.3000 to -0.3000" in five


def test_files_that_are_gone_are_named(evaluated, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(evaluated.sharp, run)
    path = run / "calibration.json"
    path.write_text(path.read_text().replace(str(evaluated.softmax), str(tmp_path / "gone")))
    page = report(tmp_path, run, "--worst", 1)
    assert "softmax file not found" in page
    assert 'class="slice"' not in page
    # beside calibration.json they are found again
    for softmax in evaluated.softmax.iterdir():
        shutil.copy(softmax, run)
    page = report(tmp_path, run, "--worst", 1, "--images", tmp_path)
    assert "image not found" in page
    assert page.count('class="slice"') == 4


def test_a_prediction_folder_may_move(evaluated, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(evaluated.softmax, moved)
    shutil.copytree(evaluated.sharp, moved / "calibration")
    path = moved / "calibration" / "calibration.json"
    path.write_text(path.read_text().replace(str(evaluated.softmax), "where/it/was"))
    page = report(tmp_path, moved, "--worst", 1)
    assert "not found" not in page
    assert page.count('class="slice"') == 4


def test_the_same_each_time(evaluated, tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    first = report(tmp_path, evaluated.sharp, evaluated.truth, "--images", evaluated.images)
    assert first == report(tmp_path, evaluated.sharp, evaluated.truth, "--images", evaluated.images)
    assert "2023-11-14" in first


def test_hostile_names_stay_text(evaluated):
    runs = [hostile_run(evaluated.truth), replace(hostile_run(evaluated.sharp), name=HOSTILE[0])]
    page = render(prepare_page(runs, Options()))
    elements = Elements(page)
    harmless = [load_run(evaluated.truth), load_run(evaluated.sharp)]
    known = {tag for tag, _ in Elements(render(prepare_page(harmless, Options()))).tags}
    assert {tag for tag, _ in elements.tags} <= known | {"wbr"}
    assert len(elements.of("script")) == 1 and not elements.of("img")
    assert not [name for _, attributes in elements.tags for name in attributes if name.startswith("on")]
    text = "".join(elements.text)
    assert all(name in text for name in HOSTILE)


def test_figures_for_papers(evaluated, tmp_path):
    for again in ("a", "b"):
        report(tmp_path, evaluated.sharp, "--figures", tmp_path / again)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert len(files) == 2 * 5 * (1 + 3)
    assert {"sharp_predicted.pdf", "sharp_predicted.svg", "sharp_predicted_class1.svg"} <= set(files)
    for name in ("sharp_predicted.pdf", "sharp_predicted.svg"):
        content = (tmp_path / "a" / name).read_bytes()
        assert content == (tmp_path / "b" / name).read_bytes()
    assert b"/FontFile2" in (tmp_path / "a/sharp_predicted.pdf").read_bytes()
    assert b'width="237.6pt"' in (tmp_path / "a/sharp_predicted.svg").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--voxel-set", "nowhere"], "Expected a voxel set of these runs"),
        (["--images", "nowhere"], "no such folder"),
    ],
)
def test_unusable_arguments(evaluated, tmp_path, arguments, message, capsys):
    assert main(["report", str(evaluated.sharp), *arguments, "-o", str(tmp_path / "report.html")]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "report.html").exists()


def test_regions(phantom_task, dataset_files, tmp_path):
    """A region-based model: a diagram per region, and each region's mask in the pictures."""
    dataset = json.loads(dataset_files[0].read_text())
    dataset |= {"labels": {"background": 0, "whole": [1, 2], "cap": 2}, "regions_class_order": [1, 2]}
    (tmp_path / "dataset.json").write_text(json.dumps(dataset))
    softmax = tmp_path / "softmax"
    softmax.mkdir()
    for path in (phantom_task / "posteriorTr").iterdir():
        probabilities = np.load(path)["probabilities"]
        np.savez_compressed(softmax / path.name, probabilities=np.stack([probabilities[1:].sum(0), probabilities[2]]))
    command = ["evaluate", softmax, "-gt", phantom_task / "labelsTr", "-djfile", tmp_path / "dataset.json"]
    assert main([str(part) for part in [*command, "-pfile", dataset_files[1], "-np", 1, "-o", tmp_path / "run"]]) == 0
    (tmp_path / "moved.json").write_text((tmp_path / "dataset.json").read_text())
    (tmp_path / "dataset.json").unlink()
    command = [tmp_path / "run", "--worst", 1, "--figures", tmp_path / "figures"]
    assert "dataset.json not found" in report(tmp_path, *command)
    page = report(tmp_path, *command, "-djfile", tmp_path / "moved.json")
    assert page.count('class="reliability"') == 5 * (1 + 2)
    assert len(list((tmp_path / "figures").iterdir())) == 2 * 5 * (1 + 2)
    assert page.count('<article class="case"') == 1 and page.count('class="slice"') == 2 * 4, (
        "label, prediction, confidence, error"
    )
    (shown, cap) = prepare_slices(
        [load_run(tmp_path / "run")], "phantom_000", Given(dataset_json=tmp_path / "moved.json")
    )
    assert (shown.region, cap.region, set(np.unique(shown.labels)), set(np.unique(cap.labels))) == (
        "whole",
        "cap",
        {0, 1},
        {0, 2},
    )
    assert ((shown.labels > 0) >= (cap.labels > 0)).all(), "one region inside the other, in the same slice"
    said = cap.runs["run"]
    assert set(np.unique(said.classes)) <= {0, 2} and said.confidence.min() >= 0.5
    dice = load_run(tmp_path / "run").summary["foreground_mean"]["Dice"]
    assert f"<dd>{dice:.3f}</dd>" in page


def test_a_trainer_that_was_trained_twice(evaluated, tmp_path):
    """One run of the differences, two of everything else."""
    again = shutil.copytree(evaluated.sharp, tmp_path / "again")
    summary = json.loads((again / "calibration.json").read_text())
    for case in summary["metric_per_case"]:  # a copy to the last digit would be refused
        case["voxel_sets"]["all"]["ECE"] += 1e-12
    (again / "calibration.json").write_text(json.dumps(summary))
    page = report(tmp_path, evaluated.truth, f"{evaluated.sharp},{again}")
    alone = report(tmp_path, evaluated.truth, evaluated.sharp)
    differences, of_one = (
        re.search(r'<section id="differences">.*?</section>', each, re.DOTALL)[0] for each in (page, alone)
    )
    assert differences == of_one, "the mean of two trainings that are equal in what is shown"
    assert "sharp (training 1)" in page and "sharp (training 2)" in page
    assert page.count('class="reliability"') == alone.count('class="reliability"') * 3 / 2
    single = report(tmp_path, f"{evaluated.sharp},{again}")
    assert 'href="#differences"' not in single and "sharp (training 2)" in single


def test_trainings_of_other_cases_are_one_line(evaluated, tmp_path, capsys):
    other = shutil.copytree(evaluated.sharp, tmp_path / "other")
    summary = json.loads((other / "calibration.json").read_text())
    summary["metric_per_case"][0]["part"] = "fold_3"
    (other / "calibration.json").write_text(json.dumps(summary))
    assert main(["report", f"{evaluated.sharp},{other}", "-o", str(tmp_path / "report.html")]) == 1
    assert "is no repetition of" in capsys.readouterr().err


def test_for_decisions(evaluated, tmp_path):
    """The figures are those of the study; results of before the sums were kept say so, and still have volumes."""
    page = report(tmp_path, evaluated.truth, evaluated.sharp)
    text = " ".join("".join(Elements(page).text).split())
    (section,) = re.findall(r'<section id="decisions">.*?</section>', page, re.DOTALL)
    assert section.count('<svg class="risk"') == 3, "mean of the classes, and each"
    runs = [load_run(folder) for folder in (evaluated.truth, evaluated.sharp)]
    quality = decision_quality(runs, sorted(runs[0].statistics))
    for held in quality.detection.detections:
        assert f"{held.run}: AURC {held.measures['aurc']:.4f}" in page
    assert all(held.in_words in text for held in quality.detection.differences)
    assert "An interval at level 0.9 needs 19 cases, and these are 6." in text
    bias = quality.volumes[0].bias["soft"]
    assert f"{100 * bias.share:+.1f} %" in text
    old = shutil.copytree(evaluated.sharp, tmp_path / "old")
    summary = json.loads((old / "calibration.json").read_text())
    for case in summary["metric_per_case"]:
        for metrics in case["metrics"].values():
            del metrics["confidence"]
    (old / "calibration.json").write_text(json.dumps(summary))
    page = report(tmp_path, old)
    assert "old was evaluated before the sums of its masks were kept; evaluate it again" in page
    (section,) = re.findall(r'<section id="decisions">.*?</section>', page, re.DOTALL)
    assert '<svg class="risk"' not in section and "bias, segmentation" in section
