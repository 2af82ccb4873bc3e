"""The methods on arrays: what they promise to keep, known answers, and optima that independent optimisers find too."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.optimize import brentq, minimize
from scipy.special import expit, logit, softmax

from nnunet_nacl.benchmark.tasks.phantom import make_phantom
from nnunet_nacl.calibration import CalibrationStatistics
from nnunet_nacl.calibration.log_probabilities import floor_of, is_exact, log_probabilities, two_classes
from nnunet_nacl.calibration.temperature import HIGHEST_FACTOR, LOWEST_FACTOR, NoVoxelsError
from nnunet_nacl.recalibration.guarantees import GUARANTEES, guarantee_lines
from nnunet_nacl.recalibration.heads import SigmoidHeads, SoftmaxHeads
from nnunet_nacl.recalibration.methods import METHODS
from nnunet_nacl.recalibration.methods.base import Remark
from nnunet_nacl.recalibration.methods.by_prediction import FactorOfPrediction
from nnunet_nacl.recalibration.methods.margins import Margins, margins_of
from nnunet_nacl.recalibration.methods.per_class import FactorOfClass
from nnunet_nacl.recalibration.methods.temperature import OneFactor

FLOOR = floor_of(np.dtype(np.float32))
KEEPING = [name for name, each in GUARANTEES.items() if each.keeps_argmax]


def recalibrated(probabilities, fitted):
    return SoftmaxHeads(tuple(map(str, range(len(probabilities))))).recalibrate(probabilities, (fitted,))


def region(probabilities, fitted):
    return SigmoidHeads(("region",), ((1,),), (1,)).recalibrate(probabilities[None], (fitted,))[0]


def random_map(name, classes, rng):
    factors = np.exp(rng.uniform(np.log(0.011), np.log(99), classes))
    off_diagonal = ~np.eye(classes, dtype=bool)
    return {
        "temperature": OneFactor(float(factors[0])),
        "by-prediction": FactorOfPrediction(factors),
        "per-class": FactorOfClass(factors),
        "margins": Margins(
            rng.choice([0, 0.3, 1, 4], (classes, classes)) * off_diagonal,
            rng.choice([0, 1e-7, 0.5, 9], (classes, classes)) * off_diagonal,
        ),
    }[name]


def posterior_and_labels(n_voxels, num_classes=3, seed=0, background=2.0):
    """Return a posterior of varied confidence, most of it background, and labels drawn from it voxel by voxel."""
    rng = np.random.default_rng(seed)
    logits = 3 * rng.normal(size=(num_classes, n_voxels))
    logits[0] += background
    posterior = softmax(logits, axis=0)
    return posterior, (rng.random(n_voxels) > np.cumsum(posterior, axis=0)[:-1]).sum(0).astype(np.uint8)


def powered(posterior, of_background, of_structures):
    """Return the posterior to a power that depends on the class that it predicts, as a network would store it."""
    power = np.where(posterior.argmax(0) == 0, of_background, of_structures)
    return softmax(np.log(posterior) * power, axis=0).astype(np.float32)


def once(probabilities, labels):
    logarithm = log_probabilities(probabilities, FLOOR).astype(np.float32)
    return lambda: [(logarithm, labels)]


def nll(probabilities, labels):
    return float(-np.log(probabilities[labels, np.arange(labels.size)]).mean())


def near(value):
    """Return a few float32 numbers around one: the places where rounding could swap two classes."""
    numbers = [np.float32(value)]
    for _ in range(3):
        numbers.append(np.nextafter(numbers[-1], np.float32(0)))
    return st.sampled_from([float(number) for number in numbers])


PROBABILITY = st.one_of(
    near(0.5), near(1 / 3), near(0.25), near(1e-30), near(1.0), st.just(0.0), st.floats(0, 1, width=32)
)


@given(
    hnp.arrays(np.float32, st.tuples(st.integers(2, 5), st.integers(1, 40)), elements=PROBABILITY),
    st.sampled_from(KEEPING),
    st.integers(0, 2**32 - 1),
    st.sampled_from([np.float32, np.float64, np.float16]),
)
def test_no_prediction_moves(values, name, seed, dtype):
    """Ties, neighbouring numbers, zeros; the arrays need not even sum to 1. Whole arrays, since vectorised and
    left-over elements may be rounded differently."""
    probabilities = values.astype(dtype)
    probabilities[0, ~probabilities.any(0)] = 1
    new = recalibrated(probabilities, random_map(name, len(values), np.random.default_rng(seed)))
    assert new.dtype == np.float32
    np.testing.assert_array_equal(new.argmax(0), probabilities.argmax(0))
    assert new.min() >= 0
    exact = is_exact(probabilities)
    np.testing.assert_allclose(new[:, ~exact].sum(0), 1, atol=1e-5)
    np.testing.assert_array_equal(new[:, exact], probabilities[:, exact].astype(np.float32))


def random_and_tied(n_voxels, rng):
    """Return probabilities of which a third are ties or one float32 step from one, a third of them of the two first places."""
    probabilities = softmax(rng.normal(scale=4, size=(3, n_voxels)).astype(np.float32), axis=0)
    third = n_voxels // 3
    order = np.argsort(probabilities[:, :third], axis=0)
    top, columns = np.take_along_axis(probabilities[:, :third], order[2:], 0)[0], np.arange(third)
    step = rng.integers(-1, 2, third)
    probabilities[order[1], columns] = np.where(step == 0, top, np.nextafter(top, np.float32(step)))
    return probabilities


@pytest.mark.parametrize("name", ["by-prediction", "margins"])
def test_no_prediction_moves_in_ten_million_voxels(name):
    rng = np.random.default_rng(1)
    for _ in range(20):
        probabilities = random_and_tied(500_000, rng)
        new = recalibrated(probabilities, random_map(name, 3, rng))
        assert np.array_equal(new.argmax(0), probabilities.argmax(0))


def test_neighbouring_numbers_would_swap_without_care():
    """The case that the guarantee is about: class 1 leads by one float32 step, and a temperature merges the two."""
    half = np.float32(0.5)
    probabilities = np.array([[np.nextafter(half, np.float32(0))], [half]], np.float32)
    assert (probabilities.astype(float) ** 0.1).astype(np.float32).argmax(0) == [0]  # a tie, which the first class wins
    new = recalibrated(probabilities, OneFactor(0.1))
    assert new.argmax(0) == [1]
    np.testing.assert_allclose(new, 0.5, atol=2e-7)


@given(
    hnp.arrays(np.float32, st.integers(1, 20), elements=PROBABILITY),
    st.sampled_from(["temperature", "by-prediction", "margins"]),
    st.integers(0, 2**32 - 1),
)
def test_regions_stay_on_their_side_of_the_threshold(probabilities, name, seed):
    new = region(probabilities, random_map(name, 2, np.random.default_rng(seed)))
    np.testing.assert_array_equal(new > 0.5, probabilities > 0.5)
    assert np.all(new[probabilities == 0] == 0)
    assert np.all((new >= 0) & (new <= 1))


@pytest.mark.parametrize("name", METHODS)
def test_the_table_of_guarantees_is_what_the_maps_do(name):
    """Each kept promise is kept, and each that is not made is broken somewhere: the table neither claims nor hides."""
    rng = np.random.default_rng(0)
    probabilities = softmax(rng.normal(scale=2, size=(4, 20_000)), axis=0).astype(np.float32)
    argmax_kept, order_kept = [], []
    for _ in range(10):
        new = recalibrated(probabilities, random_map(name, 4, rng))
        argmax_kept.append(np.array_equal(new.argmax(0), probabilities.argmax(0)))
        order = np.argsort(probabilities, axis=0)
        ordered = np.take_along_axis(new, order, 0)
        order_kept.append(bool(np.all(np.diff(ordered, axis=0) >= 0)))
    assert all(argmax_kept) == GUARANTEES[name].keeps_argmax
    assert all(order_kept) == GUARANTEES[name].keeps_order
    assert (type(random_map(name, 3, rng)) is OneFactor) == GUARANTEES[name].into_model
    assert tuple(METHODS) == tuple(GUARANTEES)
    assert all(len(line) <= 100 for line in guarantee_lines())


def test_scores_are_what_the_formulas_say():
    logits = np.random.default_rng(0).normal(scale=4, size=(4, 500))
    p, columns = softmax(logits, axis=0), np.arange(500)
    c = p.argmax(0)
    np.testing.assert_allclose(recalibrated(p, OneFactor(1 / 1.7)), softmax(logits / 1.7, axis=0), atol=1e-6)
    factors = np.array([0.5, 1, 2, 3])
    np.testing.assert_allclose(
        recalibrated(p, FactorOfPrediction(factors)), softmax(logits * factors[c], axis=0), atol=1e-6
    )
    np.testing.assert_allclose(
        recalibrated(p, FactorOfClass(factors)), softmax(np.log(p) * factors[:, None], axis=0), atol=1e-6
    )
    slopes, offsets = np.random.default_rng(1).uniform(0, 2, (2, 4, 4))
    margins = logits[c, columns] - logits
    expected = -(slopes[c].T * margins + offsets[c].T)
    expected[c, columns] = 0
    fitted = Margins(*(numbers * ~np.eye(4, dtype=bool) for numbers in (slopes, offsets)))
    np.testing.assert_allclose(recalibrated(p, fitted), softmax(expected, axis=0), atol=1e-6)


def test_regions_are_what_the_formulas_say_and_continuous():
    p = np.linspace(0.001, 0.999, 999)
    new = region(p, FactorOfPrediction(np.array([0.5, 2.0])))
    np.testing.assert_allclose(new, expit(logit(p) * np.where(p > 0.5, 2.0, 0.5)), atol=1e-6)
    assert max(after - before for before, after in pairwise(region(np.linspace(0.49, 0.51, 999), FactorOfPrediction(np.array([0.5, 2.0]))))) < 1e-4  # fmt: skip
    np.testing.assert_allclose(region(p, OneFactor(0.5)), expit(logit(p) / 2), atol=1e-6)


def test_floor_and_ceiling():
    assert floor_of(np.dtype(np.float32)) == floor_of(np.dtype(np.float64)) == 2.0**-126
    assert floor_of(np.dtype(np.float16)) == 2.0**-24
    probabilities = np.array([[1.0, 0.7], [0.0, 0.3], [1e-9, 0.0]], np.float32)
    roots = np.sqrt(np.maximum(probabilities, 2.0**-126, dtype=float))
    np.testing.assert_allclose(recalibrated(probabilities, OneFactor(0.5)), roots / roots.sum(0), rtol=1e-6)
    # a sigmoid that was rounded to 1 had a logit of at least 16.6, and gets one of 17.3
    saturated = region(np.ones(1, np.float32), OneFactor(0.5))
    assert logit(float(saturated[0])) == pytest.approx(np.log(2.0**25) / 2, rel=1e-3)


def test_sharpened_structures_and_flattened_background_are_both_repaired():
    """T = 2 where a structure is predicted, 0.7 where background is: by-prediction finds both within 1 %."""
    posterior, labels = posterior_and_labels(600_000)
    given = powered(posterior, 0.7, 2.0)
    fit = METHODS["by-prediction"].fit(once(given, labels), 3, "softmax")
    assert 1 / fit.map.factors == pytest.approx([0.7, 2.0, 2.0], rel=0.01)
    np.testing.assert_allclose(recalibrated(given, fit.map), posterior, atol=0.005)
    assert fit.converged
    assert fit.remarks == ()
    assert fit.n_voxels == 600_000
    assert fit.evaluations <= 12
    repaired = CalibrationStatistics.empty(3)
    repaired.update(recalibrated(given, fit.map), labels)
    assert repaired.scores("all").ece < 0.002
    assert nll(recalibrated(given, fit.map), labels) == pytest.approx(fit.nll_after, abs=1e-6)
    assert nll(given, labels) == pytest.approx(fit.nll_before, abs=1e-6)


@pytest.mark.parametrize("name", ["by-prediction", "margins"])
def test_a_calibrated_network_is_left_alone(name):
    posterior, labels = posterior_and_labels(600_000, seed=3)
    fit = METHODS[name].fit(once(posterior, labels), 3, "softmax")
    new = recalibrated(posterior, fit.map)
    assert np.abs(new - posterior).max() < 0.02
    if name == "by-prediction":
        assert fit.map.factors == pytest.approx([1, 1, 1], rel=0.015)


def test_each_factor_is_the_root_of_its_own_derivative():
    """brentq on an independently written derivative, on the voxels predicted as each class."""
    posterior, labels = posterior_and_labels(20_000, num_classes=4)
    given = powered(posterior, 0.5, 1.6)
    fit = METHODS["by-prediction"].fit(once(given, labels), 4, "softmax")
    for c, factor in enumerate(fit.map.factors):
        here = given.argmax(0) == c
        logits, label = np.log(given[:, here].astype(float)), labels[here]

        def slope(b, logits=logits, label=label):
            return ((softmax(b * logits, axis=0) * logits).sum(0) - logits[label, np.arange(label.size)]).sum()

        assert factor == pytest.approx(brentq(slope, 0.01, 20), rel=1e-5)


def test_margins_contain_by_prediction():
    posterior, labels = posterior_and_labels(50_000)
    given = powered(posterior, 0.7, 2.0)
    simple = METHODS["by-prediction"].fit(once(given, labels), 3, "softmax")
    as_margins = margins_of(simple.map)
    np.testing.assert_allclose(recalibrated(given, as_margins), recalibrated(given, simple.map), atol=1e-6)
    fit = METHODS["margins"].fit(once(given, labels), 3, "softmax")
    assert fit.nll_after <= simple.nll_after
    # the truth is such a map: what slopes and offsets of its own could gain is chance
    assert fit.nll_after == pytest.approx(simple.nll_after, abs=2e-4)


def test_margins_are_the_optimum_of_a_general_optimiser():
    """SLSQP with differences for a gradient, on a likelihood written anew."""
    posterior, labels = posterior_and_labels(3_000)
    given = powered(posterior, 0.6, 1.8)
    logits, c, columns = np.log(given.astype(float)), given.argmax(0), np.arange(labels.size)
    margins = logits[c, columns] - logits
    off_diagonal = ~np.eye(3, dtype=bool)

    def value(numbers):
        slopes, offsets = np.zeros((2, 3, 3))
        slopes[off_diagonal], offsets[off_diagonal] = np.split(numbers, 2)
        scores = -(slopes[c].T * margins + offsets[c].T)
        return float(np.mean(np.log(np.exp(scores).sum(0)) - scores[labels, columns]))

    fit, simple = (METHODS[name].fit(once(given, labels), 3, "softmax") for name in ("margins", "by-prediction"))
    bounds = [(0.75 * factor, 100) for factor in np.repeat(simple.map.factors, 2)] + [(0, 100)] * 6
    found = minimize(value, np.ones(12), method="SLSQP", bounds=bounds, options={"ftol": 1e-14, "maxiter": 500})
    assert np.all(fit.map.slopes >= 0.75 * simple.map.factors[:, None] * off_diagonal)
    assert fit.nll_after == pytest.approx(found.fun, abs=1e-7)
    assert value(np.concatenate([fit.map.slopes[off_diagonal], fit.map.offsets[off_diagonal]])) == pytest.approx(fit.nll_after, abs=1e-6)  # fmt: skip


def test_what_small_margins_say_is_not_carried_to_large_ones():
    """A network that hardly tells two structures apart says nothing of one that does: there the probability follows the margin still."""
    rng = np.random.default_rng(0)
    margin = rng.uniform(0, 0.2, 20_000)
    given = softmax(np.stack([np.full(margin.size, -9.0), margin, np.zeros(margin.size)]), axis=0)
    labels = np.where(rng.random(margin.size) < 0.6, 1, 2)  # whatever the margin
    fit = METHODS["margins"].fit(once(given, labels), 3, "softmax")
    new = recalibrated(softmax(np.array([[-9.0], [0.1], [0.0]]), axis=0), fit.map)
    assert new[1, 0] == pytest.approx(0.6, abs=0.02)
    new = recalibrated(softmax(np.array([[-9.0], [5.0], [0.0]]), axis=0), fit.map)
    assert new[1, 0] > 0.95


def test_margins_are_no_worse_than_fiducios_own():
    """The authors' package, whose matrix is full: on the same voxels its L-BFGS finds no likelihood that is noticeably higher."""
    fiducio = pytest.importorskip("fiducio")
    posterior, labels = posterior_and_labels(20_000)
    given = powered(posterior, 0.6, 2.5)
    theirs = fiducio.ArgmaxPreservingMatrixScaling(optimizer="lbfgs", input_type="probs")
    theirs.fit(given.T.copy(), labels.astype(np.int64))
    reached = nll(theirs.transform(given.T.copy()).numpy().T.astype(float), labels)
    fit = METHODS["margins"].fit(once(given, labels), 3, "softmax")
    assert fit.nll_after <= reached + 1e-4
    # with the full matrix in its place theirs is this map: the same numbers give the same probabilities
    slopes, offsets = np.zeros((2, 3, 3))
    off_diagonal = ~np.eye(3, dtype=bool)
    slopes[off_diagonal], offsets[off_diagonal] = fit.map.slopes[off_diagonal], fit.map.offsets[off_diagonal]
    import torch

    for c in range(3):
        others = [k for k in range(3) if k != c]
        theirs._raw_b[c] = torch.as_tensor(np.log(np.expm1(np.maximum(np.diag(slopes[c, others]), 1e-12))))
        theirs._raw_mu[c] = torch.as_tensor(np.log(np.expm1(np.maximum(offsets[c, others], 1e-12))))
    same = theirs.transform(given.T.copy()).numpy().T
    np.testing.assert_allclose(same, recalibrated(given, fit.map), atol=1e-4)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("n_pieces", [2, 7])
def test_pieces_give_the_same_fit(name, n_pieces):
    posterior, labels = posterior_and_labels(6_000)
    logarithm = np.log(powered(posterior, 0.7, 1.5))
    pieces = list(zip(np.array_split(logarithm, n_pieces, 1), np.array_split(labels, n_pieces), strict=True))
    whole, parts = (
        METHODS[name].fit(blocks, 3, "softmax") for blocks in (lambda: [(logarithm, labels)], lambda: pieces)
    )
    assert parts.nll_before == pytest.approx(whole.nll_before, rel=1e-12)
    assert parts.nll_after == pytest.approx(whole.nll_after, rel=1e-9)
    given = np.exp(logarithm)
    np.testing.assert_allclose(recalibrated(given, parts.map), recalibrated(given, whole.map), atol=1e-4)


@pytest.mark.parametrize("name", METHODS)
def test_the_start_changes_nothing_but_the_time(name):
    posterior, labels = posterior_and_labels(20_000)
    voxels = once(powered(posterior, 0.7, 2.0), labels)
    cold = METHODS[name].fit(voxels, 3, "softmax")
    warm = METHODS[name].fit(voxels, 3, "softmax", start=cold.map)
    assert warm.nll_after == pytest.approx(cold.nll_after, abs=1e-8)
    assert warm.nll_before == cold.nll_before
    assert warm.evaluations < cold.evaluations
    assert warm.remarks == cold.remarks


def test_classes_without_voxels_without_errors_or_beyond_the_bounds():
    posterior, labels = posterior_and_labels(5_000, num_classes=5)
    given = posterior.astype(np.float32)
    prediction = given.argmax(0)
    labels[prediction == 1] = 1  # never wrong
    labels[prediction == 2] = given[:, prediction == 2].argmin(0)  # always wrong
    kept = prediction != 3  # never predicted
    fit = METHODS["by-prediction"].fit(once(given[:, kept], labels[kept]), 5, "softmax")
    assert set(fit.remarks) == {Remark("no_voxel", ((3,),)), Remark("separable", ((1,),)), Remark("at_bound", ((2,),))}
    assert fit.map.factors[[1, 3]].tolist() == [1, 1]
    assert fit.map.factors[2] == LOWEST_FACTOR
    fit = METHODS["margins"].fit(once(given[:, kept], labels[kept]), 5, "softmax")
    assert {Remark("no_voxel", ((3,),)), Remark("separable", ((1,),))} <= set(fit.remarks)
    np.testing.assert_array_equal(fit.map.slopes[[1, 3]], 1 - np.eye(5)[[1, 3]])
    assert not fit.map.offsets[[1, 3]].any()


def test_one_error_among_many_is_an_optimum_within_the_bounds_or_the_bound():
    """Nearly separable, where Newton's steps from 1 go astray."""
    for wrong in (1, 3):
        confidence = np.linspace(0.55, 0.999, 2000)
        labels = np.zeros(2000, np.uint8)
        labels[:wrong] = 1
        fit = METHODS["by-prediction"].fit(once(np.stack([confidence, 1 - confidence]), labels), 2, "softmax")
        assert fit.converged
        logits = logit(confidence)

        def slope(b, logits=logits, labels=labels):
            return ((labels - expit(-b * logits)) * logits).sum()

        assert fit.map.factors[0] == pytest.approx(brentq(slope, 0.01, 1000), rel=1e-4)
    confidence = np.full(1000, 0.501)
    labels = np.zeros(1000, np.uint8)
    labels[0] = 1  # the optimum is at a factor of 1726
    fit = METHODS["by-prediction"].fit(once(np.stack([confidence, 1 - confidence]), labels), 2, "softmax")
    assert fit.map.factors[0] == HIGHEST_FACTOR
    assert Remark("at_bound", ((0,),)) in fit.remarks


def test_a_pair_that_is_never_confused_has_the_slope_of_its_like():
    posterior, labels = posterior_and_labels(20_000)
    given = powered(posterior, 0.7, 2.0)
    kept = ~((given.argmax(0) == 1) & (labels == 2))
    voxels = once(given[:, kept], labels[kept])
    fit, simple = (METHODS[name].fit(voxels, 3, "softmax") for name in ("margins", "by-prediction"))
    assert fit.remarks == (Remark("not_labelled", ((1, 2),)),)
    assert fit.map.slopes[1, 2] == simple.map.factors[1]
    assert fit.map.offsets[1, 2] == 0


@pytest.mark.parametrize("name", METHODS)
def test_regions_with_known_factors_are_found(name):
    rng = np.random.default_rng(0)
    posterior = expit(3 * rng.normal(size=300_000) - 1)
    inside = (rng.random(posterior.size) < posterior).astype(np.uint8)
    temperatures = (0.7, 2.0) if name in ("by-prediction", "margins") else (2.0, 2.0)
    stored = expit(logit(posterior) * np.where(posterior > 0.5, temperatures[1], temperatures[0])).astype(np.float32)
    fit = METHODS[name].fit(once(two_classes(stored), inside), 2, "sigmoid")
    np.testing.assert_allclose(region(stored, fit.map), posterior, atol=0.02 if name == "margins" else 0.01)


@pytest.mark.parametrize("name", METHODS)
def test_nothing_to_fit_on(name):
    with pytest.raises(NoVoxelsError):
        METHODS[name].fit(lambda: [], 3, "softmax")


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
def test_numbers_survive_the_file(name, kind):
    rng = np.random.default_rng(0)
    maps = (random_map(name, 3, rng),)
    if kind == "sigmoid":
        maps = tuple(random_map("temperature" if name == "per-class" else name, 2, rng) for _ in range(3))
        maps = (maps[0],) * 3 if name == "temperature" else maps
    content = METHODS[name].to_json(maps, kind, 3)
    back = METHODS[name].from_json(content, kind, 3)
    for one, two in zip(maps, back, strict=True):
        for attribute in vars(one):
            np.testing.assert_array_equal(getattr(one, attribute), getattr(two, attribute))
    damaged = replace_first_number(content)
    with pytest.raises(ValueError, match="expected"):
        METHODS[name].from_json(damaged, kind, 3)


def replace_first_number(content):
    key = "slopes" if "slopes" in content else "factors"
    numbers = np.array(content[key])
    numbers.reshape(-1)[1] *= 1.001
    numbers.reshape(-1)[1] += 1e-3
    return content | {key: numbers.tolist()}


def test_maps_say_what_the_table_says():
    rng = np.random.default_rng(0)
    for name, each in GUARANTEES.items():
        assert random_map(name, 3, rng).keeps_argmax == each.keeps_argmax


def test_the_phantom_spoilt_on_both_sides_is_repaired():
    """Its true posterior, sharpened with T = 2 in structures and flattened with 0.7 in background; labels drawn four times over."""
    phantoms = [make_phantom(40, np.random.default_rng([0, number])).posterior for number in range(20)]
    posterior = np.concatenate([each.reshape(3, -1) for each in phantoms], axis=1)
    posterior = posterior[:, ~is_exact(posterior)].astype(float)
    logarithm = log_probabilities(powered(posterior, 0.7, 2.0), FLOOR).astype(np.float32)
    rng = np.random.default_rng(0)
    draws = [
        (rng.random(posterior.shape[1]) > np.cumsum(posterior, axis=0)[:-1]).sum(0).astype(np.uint8) for _ in range(4)
    ]
    fit = METHODS["by-prediction"].fit(lambda: [(logarithm, labels) for labels in draws], 3, "softmax")
    assert 1 / fit.map.factors == pytest.approx([0.7, 2.0, 2.0], rel=0.01)
