"""`nnunet-nacl benchmark results`: numbers as in the files, marks, what is missing in words, names that cannot do harm."""

import json
import re
import shutil
import statistics
from dataclasses import replace
from datetime import date

import pytest
from finished_study import BASE, CE, DATASET, NACL, content, edit, results, run_folder, summary
from markdown_it import MarkdownIt

from nnunet_nacl.benchmark.config.study import load_study
from nnunet_nacl.calibration import VOXEL_SETS
from nnunet_nacl.cli import main
from nnunet_nacl.results_page.header import caveats_section, header_section
from nnunet_nacl.results_page.scores import greyed_out
from nnunet_nacl.results_page.task_results import read_task
from nnunet_nacl.study.failure_detection import failure_detection
from nnunet_nacl.study.run import load_run

PRIMARY = ("predicted", "all")
HOSTILE = "<script>|a`b` [x](javascript:1) \\| **c**\n# d"


def write_page(study, output):
    assert main(["benchmark", "results", str(study), "-o", str(output)]) == 0
    return (output / f"{DATASET}.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(finished, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
            patch.delenv(name, raising=False)
        return write_page(finished, tmp_path_factory.mktemp("pages") / "new")


def rendered(page):
    return MarkdownIt("commonmark", {"html": True}).enable("table").render(page)


def section(page, heading):
    """Return what stands below a heading, up to the next one of any level."""
    lines = page.split("\n")
    start = next(number for number, line in enumerate(lines) if line.startswith("#") and heading in line)
    stop = next((n for n in range(start + 1, len(lines)) if re.match(r"#{1,4} ", lines[n])), len(lines))
    return "\n".join(lines[start + 1 : stop])


def tables(text):
    """Return each table as a list of rows of cells, the header first."""
    found = []
    for block in re.findall(r"(?:^\|.*\|$\n?)+", text, re.MULTILINE):
        rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in block.strip().split("\n")]
        found.append([[cell.strip("` †‡") for cell in row] for row in (rows[0], *rows[2:])])
    return found


def by_name(table):
    return {row[0]: row[1:] for row in table[1:]}


def cell(entry, score, digits=4):
    value, ends = entry[score], entry[f"{score}_interval"]
    return f"{value:.{digits}f} ({ends[0]:.{digits}f} to {ends[1]:.{digits}f})"


def per_case_means(held, score):
    """Return a score of each case, mean over the foreground classes."""
    entries = [[case["metrics"][label][score] for label in "12"] for case in held["metric_per_case"]]
    return [statistics.fmean(value for value in entry if value is not None) for entry in entries]


@pytest.mark.parametrize("voxel_set", VOXEL_SETS)
def test_calibration_is_that_of_the_merged_result(voxel_set, finished, page):
    found = tables(section(page, f"voxel set `{voxel_set}`"))
    for trainer in (BASE, NACL, CE):
        held = summary(finished, trainer)
        of_set = held["per_case"][voxel_set]
        ece = [cell(of_set, "ECE"), cell(of_set, "class_wise_ECE"), f"{held['pooled'][voxel_set]['ECE']:.4f}"]
        assert by_name(found[0])[trainer] == ece
        if voxel_set in PRIMARY:
            assert by_name(found[1])[trainer] == [cell(of_set, "NLL"), cell(of_set, "Brier")]
            others = [of_set[name] for name in ("gap", "equal_mass_ECE", "ACE", "MCE")]
            assert by_name(found[2])[trainer] == [f"{others[0]:+.4f}", *(f"{value:.4f}" for value in others[1:])]
    assert list(by_name(found[0])) == [BASE, NACL, CE], "the baseline first"
    assert len(found) == (3 if voxel_set in PRIMARY else 1)


def test_segmentation_and_folds(finished, page):
    (found,) = tables(section(page, "1a."))
    assert found[0] == ["trainer", "cases", "Dice", "HD95 (mm)"]
    dice_table, ece_table = tables(section(page, "Each fold by itself"))
    for trainer in (BASE, NACL, CE):
        held = summary(finished, trainer)
        row = by_name(found)[trainer]
        assert row[0] == "6"
        # every case of the phantom has both classes, so that the order of the means does not matter
        assert float(row[1].split(" ")[0]) == pytest.approx(held["foreground_mean"]["Dice"], abs=6e-5)
        dice, hd95 = (per_case_means(held, score) for score in ("Dice", "HD95"))
        assert row[1].startswith(f"{statistics.fmean(dice):.4f} (")
        assert row[2].startswith(f"{statistics.fmean(hd95):.2f} (")
        low, high = map(float, re.findall(r"[\d.]+", row[1])[1:])
        assert 0 <= low <= statistics.fmean(dice) + 1e-4 and statistics.fmean(dice) - 1e-4 <= high <= 1
        folds = [summary(finished, trainer, f"fold_{fold}") for fold in (0, 1)]
        assert by_name(dice_table)[trainer] == [
            f"{statistics.fmean(per_case_means(fold, 'Dice')):.4f}" for fold in folds
        ]
        assert by_name(ece_table)[trainer] == [f"{fold['per_case']['predicted']['ECE']:.4f}" for fold in folds]


def expected_rows(tests, run):
    rows = []
    for test in tests:
        if test["run"] == run:
            star = "*" if test["voxel_set"] not in (None, *PRIMARY) else ""
            ends = f"{test['low']:+.4f} to {test['high']:+.4f}"
            p = "-" if test["p_holm"] is None else f"{test['p_holm']:.3f}"
            rows.append([test["score"], f"{test['voxel_set'] or '-'}{star}", f"{test['difference']:+.4f}", ends, p])
    return rows


def test_differences_are_those_of_the_comparisons(finished, page):
    for folder, marked in (("comparison", "### `{}`"), ("comparison_tempered", "#### `{}`")):
        held = content(results(finished) / folder / "comparison.json")
        for run in held["runs"]:
            trainer, _, stage = run.partition(" (")
            words = {"merged)": " as trained", "tempered)": " after recalibration", "": ""}[stage]
            heading = marked.format(trainer) + words
            (found,) = tables(section(page, f"\n{heading}".strip()))
            assert [row[:5] for row in found[1:]] == expected_rows(held["tests"], run), heading
            assert [row[-1] for row in found[1:]] == [test["verdict"] for test in held["tests"] if test["run"] == run]


def test_folds_and_verdict_of_a_comparison(copied, tmp_path):
    def add(held):
        for test in held["tests"]:
            test["parts"] = {
                "fold_0": {"n_pairs": 3, "difference": -0.01234},
                "fold_1": {"n_pairs": 0, "difference": None},
            }
        held["verdicts"] = [{"run": NACL, "in_words": "win: better calibrated in all", "reasons": ["Dice kept"]}]

    edit(results(copied) / "comparison" / "comparison.json", add)
    text = section(write_page(copied, tmp_path / "out"), f"### `{NACL}`")
    assert "**Verdict by the protocol: win: better calibrated in all.**" in text
    assert "- Dice kept" in text
    (found,) = tables(text)
    assert found[0][5:] == ["fold 0", "fold 1", "verdict"]
    assert {tuple(row[5:7]) for row in found[1:]} == {("-0.0123", "-")}


def test_the_question_of_another_training(copied, tmp_path):
    """Two folds are no answer; five are a table; a file of before the question was asked says nothing of it."""
    path = results(copied) / "comparison" / "comparison.json"
    before = section(write_page(copied, tmp_path / "two"), f"### `{NACL}`")
    assert (
        "*This trainer, trained again*: no answer with fewer than 5 trainings of different folds, and these are 2."
        in before
    )

    def answer(held):
        for test in held["tests"]:
            test["trained_again"] = {
                "trainings": [f"fold_{n}" for n in range(5)], "n_trainings": 5, "difference": -0.01234, "low": -0.02,
                "high": -0.005, "p": 0.0123, "reason": None,
            }  # fmt: skip

    edit(path, answer)
    text = section(write_page(copied, tmp_path / "five"), f"### `{NACL}`")
    assert "*This trainer, trained again*, over 5 trainings" in text
    assert {tuple(row[2:]) for row in tables(text)[1][1:]} == {("-0.0123", "-0.0200 to -0.0050", "0.012")}
    edit(path, lambda held: [test.pop("trained_again") for test in held["tests"]])
    assert "trained again" not in section(write_page(copied, tmp_path / "old"), f"### `{NACL}`")


def test_before_and_after_scaling(finished, page):
    (temperatures,) = tables(section(page, "3a. Temperatures of each fold: background / body / cap"))
    for trainer in (BASE, NACL, CE):
        parts = content(run_folder(finished, trainer) / "temperature.json")["cross_fit"]["parts"]
        # a part is named after the folder whose cases are held out
        held_out = {fold: part for fold in (0, 1) for part in parts if f"fold_{fold}" in part["name"]}
        assert by_name(temperatures)[trainer] == [
            " / ".join(f"{each:.3f}" for each in held_out[fold]["temperatures"]) for fold in (0, 1)
        ]
    beside = content(run_folder(finished, BASE) / "temperature.json")["compared"]["temperature"]
    assert beside["temperatures"] == pytest.approx([2] * 3, rel=0.15), "the baseline is the truth squared"
    for voxel_set in PRIMARY:
        (found,) = tables(section(page, f"Before → after, mean of cases, voxel set `{voxel_set}`"))
        for trainer in (BASE, NACL, CE):
            before, after = (summary(finished, trainer, part)["per_case"][voxel_set] for part in ("merged", "tempered"))
            assert by_name(found)[trainer] == [f"{before[s]:.4f} → {after[s]:.4f}" for s in ("ECE", "NLL", "Brier")]
            beside = content(run_folder(finished, trainer) / "temperature.json")["compared"]["temperature"]["scores"][
                "after"
            ]
            place = [row[0].strip("` †") for row in found].index(trainer)
            expected = [f"{beside['classes']['per_case'][voxel_set][s]:.4f}" for s in ("ECE", "NLL", "Brier")]
            assert found[place + 1] == ["*one temperature*", *expected]
    (found,) = tables(section(page, "3d. Which cases should be looked at?"))
    for trainer in (BASE, NACL, CE):
        runs = [load_run(run_folder(finished, trainer) / part) for part in ("merged", "tempered")]
        quality = failure_detection(runs, sorted(runs[0].statistics))
        before, after = (held.measures for held in quality.of_label("mean"))
        changes = [f"{before[name]:.4f} → {after[name]:.4f}" for name in ("aurc", "excess_augrc")]
        assert by_name(found)[trainer] == [*changes, quality.differences[0].verdict]
        assert quality.differences[0].same_segmentations, "a recalibration keeps the predicted class"


def test_only_what_does_not_segment_is_greyed_out(finished, copied, page):
    assert f"`{CE}` †" in page
    assert f"`{NACL}` †" not in page
    assert f"`{BASE}` †" not in page
    assert page.count("† mean Dice more than 0.10 below") >= 5

    def marked_at(lower):
        """Give each case of NACL the baseline's Dice, lowered."""
        base = summary(finished, BASE)

        def change(held):
            for case, of_base in zip(held["metric_per_case"], base["metric_per_case"], strict=True):
                for label in "12":
                    case["metrics"][label]["Dice"] = of_base["metrics"][label]["Dice"] - lower

        edit(run_folder(copied, NACL) / "merged" / "calibration.json", change)
        study = load_study(copied)
        return NACL in greyed_out(read_task(study, study.tasks[0]))

    assert not marked_at(0.0999)
    assert marked_at(0.1001)


def test_head_and_caveats(finished, page):
    assert page.startswith("# `Task99_Phantom`: results of a small-scale study\n")
    head = page[: page.index("## 1.")]
    flat = " ".join(head.split())
    for expected in (
        "6 validation cases in 2 folds: 0 (3), 1 (3)",
        "background, body, cap",
        "3 epochs of 30 iterations, 90 in all",
        "**Trained on**: cpu",
        "torch 2.0.0+test (6 of 6 trainings were there before the study",
        "Fewer than 5 folds (2)",
        "Fewer than 3000 iterations (90)",
    ):
        assert expected in flat
    for package, version in summary(finished, BASE)["provenance"]["versions"].items():
        assert f"{package} {version}" in flat
    study = load_study(finished)
    held = read_task(study, study.tasks[0])
    full = replace(held, study=replace(study, scale="paper", length=None, base_trainers=("nnUNetTrainer",)))
    said = "\n".join([*header_section(full, date(2026, 1, 2)), *caveats_section(full)])
    assert "small-scale" not in said
    assert "2026-01-02" in said
    assert "`nnUNetTrainerCELoss` is not in the study" in said


def test_how_to_make_it_again(finished, page):
    configuration = (finished / "benchmark.yaml").read_text()
    assert f"```yaml\n{configuration.rstrip()}\n```" in page
    assert "nnunet-nacl benchmark run 'my study'\nnnunet-nacl benchmark results 'my study' -o new" in page
    assert re.search(rf"^[0-9a-f]{{16}}  results/{DATASET}/comparison/comparison.json$", page, re.MULTILINE)
    assert str(finished) not in page, "no path of this machine"


def test_figure_is_small_and_the_same_each_time(finished, page, tmp_path):
    write_page(finished, tmp_path / "first")
    write_page(finished, tmp_path / "second")
    figures = [(tmp_path / name / f"{DATASET}_reliability.svg").read_text() for name in ("first", "second")]
    assert figures[0] == figures[1]
    assert len(figures[0].encode()) < 150_000
    assert "<image" not in figures[0]
    for trainer in (BASE, NACL, CE):
        assert f">{trainer}<" in figures[0]
        eces = [summary(finished, trainer, part)["pooled"]["predicted"]["ECE"] for part in ("merged", "tempered")]
        assert f">ECE {eces[0]:.4f} → {eces[1]:.4f}<" in figures[0]
    assert f"![Reliability diagrams]({DATASET}_reliability.svg)" in page


def test_lines_and_tables_are_not_wide(page):
    head, _, _ = page.partition("## 6.")
    lines = head.split("\n")
    assert max(len(line) for line in lines if line.startswith("|")) <= 130
    assert max(len(line) for line in lines if not line.startswith("|")) <= 125


def test_learning_curves(copied, tmp_path):
    runs = {run_folder(copied, trainer).name: {"0": {"converged": True, "why_not": []}} for trainer in (BASE, NACL)}
    runs[run_folder(copied, NACL).name]["1"] = {"converged": False, "why_not": ["90 of at least 3000 iterations"]}
    (results(copied) / "learning_curves.json").write_text(json.dumps({"runs": runs}))
    (results(copied) / "learning_curves.svg").write_text("<svg/>")
    page = write_page(copied, tmp_path / "out")
    text = section(page, "Learning curves")
    assert f"![Learning curves]({DATASET}_learning_curves.svg)" in text
    assert (tmp_path / "out" / f"{DATASET}_learning_curves.svg").read_text() == "<svg/>"
    assert by_name(tables(text)[0]) == {BASE: ["yes", "-"], NACL: ["yes", "no"]}
    assert f"`{NACL}`, fold 1: 90 of at least 3000 iterations" in text
    assert f"`{NACL}` ‡" in section(page, "1a.")
    assert f"`{BASE}` ‡" not in page
    assert "‡ not converged in every fold" in page


def test_what_is_missing_is_said(copied, tmp_path):
    for trainer in (BASE, NACL, CE):
        shutil.rmtree(run_folder(copied, trainer) / "tempered")
        (run_folder(copied, trainer) / "temperature.json").unlink()
    shutil.rmtree(run_folder(copied, CE) / "merged")
    shutil.rmtree(run_folder(copied, CE) / "fold_1")
    (results(copied) / "comparison" / "comparison.json").write_text("{")
    shutil.rmtree(copied / "nnUNet_results")
    page = write_page(copied, tmp_path / "out")
    flat = " ".join(page.split())
    for expected in (
        "No trainer has results after recalibration.",
        f"`{CE}` is in no table: 1 of its 2 folds are evaluated",
        f"`results/{DATASET}/comparison/comparison.json` cannot be used",
        "There is no comparison with the baseline yet.",
        "There are no learning curves.",
        "not on record (nnU-Net's debug.json is not there)",
    ):
        assert expected in flat
    assert [row[0] for row in tables(section(page, "1a."))[0][1:]] == [BASE, NACL]


def test_without_the_baseline(copied, tmp_path):
    shutil.rmtree(run_folder(copied, BASE))
    page = write_page(copied, tmp_path / "out")
    assert "The baseline `" in page
    assert "there is nothing to compare with" in " ".join(page.split())
    assert "†" not in page


def test_folds_that_were_evaluated_again(copied, tmp_path):
    edit(run_folder(copied, NACL) / "fold_0" / "calibration.json", lambda held: held["metric_per_case"].pop())
    assert f"`{NACL}`: its joined result has other cases than its folds" in " ".join(
        write_page(copied, tmp_path).split()
    )


def test_comparison_of_other_results(copied, finished, page, tmp_path):
    assert "was made from other results" not in page

    def change(held):
        held["metric_per_case"][0]["voxel_sets"]["predicted"]["ECE"] += 1e-6

    edit(run_folder(copied, NACL) / "tempered" / "calibration.json", change)
    flat = " ".join(write_page(copied, tmp_path / "out").split())
    assert "`comparison_tempered` was made from other results" in flat
    assert "`comparison` was made from other results" not in flat


def test_each_fold_trained_again(copied, finished, page, tmp_path):
    """Rows of its own for a training; a comparison of means over trainings is of these results, and one that is not is named."""
    for trainer, other in ((BASE, CE), (NACL, CE), (CE, BASE)):  # a copy of its own would be refused
        for part in ("fold_0", "fold_1", "merged"):
            shutil.copytree(run_folder(finished, other) / part, run_folder(copied, trainer) / "training_2" / part)
    configuration = copied / "benchmark.yaml"
    configuration.write_text(configuration.read_text() + "trainings: 2\n")
    text = write_page(copied, tmp_path / "single")
    assert "`comparison` was made from other results" not in text, "that of the first trainings"
    runs = [",".join(str(run_folder(copied, name) / part / "merged") for part in ("", "training_2")) for name in (BASE, NACL, CE)]  # fmt: skip
    assert main(["compare", *runs, "-o", str(results(copied) / "comparison")]) == 0
    text = write_page(copied, tmp_path / "out")
    assert "`comparison` was made from other results" not in text
    assert "Each fold was trained 2 times" in text
    found, before = (by_name(tables(section(each, "voxel set `predicted`"))[0]) for each in (text, page))
    assert list(found) == [name + part for name in (BASE, NACL, CE) for part in ("", "`, training 2")]
    assert (found[NACL], found[f"{NACL}`, training 2"]) == (before[NACL], before[CE])
    assert f"`{NACL}, training 2`" in section(text, "3. After recalibration"), "not scaled in this study"
    edit(results(copied) / "comparison" / "comparison.json", lambda held: held["repeats"].pop(NACL))
    assert "`comparison` was made from other results" in write_page(copied, tmp_path / "other")


def test_further_comparison(copied, tmp_path):
    shutil.copytree(results(copied) / "comparison", results(copied) / "comparison_unseen")
    edit(results(copied) / "comparison_unseen" / "comparison.json", lambda held: held.update(parts=["fold_1"]))
    page = write_page(copied, tmp_path / "out")
    assert "### Further comparison `comparison_unseen` (cases of fold_1)" in page
    assert page.count(f"# `{NACL}`\n\n| score") == 2
    said = section(page, f"### `{NACL}`")
    assert "not judged" not in said and said.count("no answer with fewer than") == 1, "said once, below the table"


@pytest.mark.parametrize("part", ["merged", "fold_0", "tempered"])
def test_a_damaged_result_is_named_and_left_out(part, copied, tmp_path):
    edit(run_folder(copied, NACL) / part / "calibration.json", lambda held: held.pop("metric_per_case"))
    flat = " ".join(write_page(copied, tmp_path / "out").split())
    assert f"{part}` cannot be used (" in flat
    assert "Evaluate it again" in flat


def test_a_damaged_comparison_is_one_line(copied, tmp_path, capsys):
    edit(results(copied) / "comparison" / "comparison.json", lambda held: held["tests"].append("a test"))
    assert main(["benchmark", "results", str(copied), "-o", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "are not as nnunet-nacl writes them" in error


def test_nothing_evaluated_is_one_line(copied, capsys):
    shutil.rmtree(copied / "results")
    assert main(["benchmark", "results", str(copied)]) == 1
    error = capsys.readouterr().err
    assert "no task has a trainer with all folds evaluated" in error
    assert error.count("\n") == 1


def test_one_task_by_name(copied, tmp_path, capsys):
    for name in (DATASET, load_study(copied).tasks[0].name):
        assert main(["benchmark", "results", str(copied), "--task", name, "-o", str(tmp_path / name)]) == 0
        assert (tmp_path / name / f"{DATASET}.md").is_file()
    assert main(["benchmark", "results", str(copied), "--task", "Task09_Spleen"]) == 1
    assert f"one of {DATASET}, but got 'Task09_Spleen'" in capsys.readouterr().err


def test_names_are_no_markup(copied, tmp_path):
    def rename(held):
        held["protocol"]["labels"]["1"] = HOSTILE
        held["protocol"]["voxel_sets"]["all"] = HOSTILE
        held["provenance"]["versions"]["torch"] = HOSTILE

    def spoil(held):
        held["cautions"] = [HOSTILE]
        held["verdicts"] = [{"run": NACL, "in_words": HOSTILE, "reasons": [HOSTILE]}]
        held["left_out"] = {HOSTILE: [HOSTILE]}
        for test in held["tests"]:
            test["verdict"], test["class_name"], test["parts"] = HOSTILE, HOSTILE, {HOSTILE: {"difference": 1.0}}

    for path in results(copied).rglob("calibration.json"):
        edit(path, rename)
    for path in results(copied).rglob("comparison.json"):
        edit(path, spoil)
    runs = {run_folder(copied, NACL).name: {"1": {"converged": False, "why_not": [HOSTILE]}}}
    (results(copied) / "learning_curves.json").write_text(json.dumps({"runs": runs}))
    page = write_page(copied, tmp_path / "out")
    html = rendered(page)
    shown = HOSTILE.replace("\n", " ").replace("<", "&lt;").replace(">", "&gt;")
    assert html.count(shown) > 10, "shown as it is"
    assert "<script" not in html
    assert "href" not in html
    assert html.count("<h1>") == 1
    for table in re.findall(r"<table>.*?</table>", html, re.DOTALL):
        widths = {row.count("<td") + row.count("<th") for row in re.findall(r"<tr>.*?</tr>", table, re.DOTALL)}
        assert len(widths) == 1


def test_one_fold_is_not_scaled(copied, tmp_path):
    path = copied / "benchmark.yaml"
    path.write_text(re.sub(r"folds:\n- 0\n- 1\n", "folds:\n- 0\n", path.read_text()))
    for trainer in (BASE, NACL, CE):
        folder = run_folder(copied, trainer)
        shutil.rmtree(folder / "tempered")
        shutil.rmtree(folder / "merged")
        shutil.copytree(folder / "fold_0", folder / "merged")
    page = write_page(copied, tmp_path / "out")
    assert "it needs two folds, one to fit on and one to score" in " ".join(page.split())
    assert "3 validation cases in 1 fold: 0 (3)" in page
