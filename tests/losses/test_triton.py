"""The Triton kernels in Triton's interpreter against the plain forms in float64: values, gradients, and what the compiler makes of them.

The interpreter takes about 0.1 ms for an operation of a block, whatever its size, so the patches are small.
"""

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import plain
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from interpreted import skip_without_interpreter

from nnunet_nacl.losses import FocalLoss, L1ACELoss, NACLLoss, SVLSLoss, fused
from nnunet_nacl.losses.fused import FusedLoss
from nnunet_nacl.losses.terms import SoftDice, terms_of

skip_without_interpreter()
from nnunet_nacl.losses import triton_kernels, triton_loss  # noqa: E402 (in the interpreter, or not at all)

IGNORE = 500
DICE = SoftDice(batch_dice=False, do_bg=False, smooth=1e-5)


@dataclass(frozen=True)
class Case:
    """A loss, with or without Dice, on random logits and a label map."""

    name: str = "NACL"
    options: tuple = ()
    dice: SoftDice | None = None
    classes: int = 3
    shape: tuple = (4, 5, 6)
    ignored: float = 0.0
    disorder: float = 1.0  # share of the patch whose labels have no order
    seed: int = 0

    @property
    def ignore_label(self):
        return IGNORE if self.ignored else None

    def loss(self):
        make = {"NACL": NACLLoss, "SVLS": SVLSLoss, "L1ACE": L1ACELoss}[self.name]
        return make(**dict(self.options), ignore_label=self.ignore_label)

    def plain(self, logits, target):
        options = dict(self.options)
        if self.name == "NACL":
            options = {"weight": 0.1, "norm": "l1", "class_reduction": "mean"} | options
            value = plain.nacl(logits, target, ignore_label=self.ignore_label, **options)
        elif self.name == "SVLS":
            value = plain.svls(logits, target, self.ignore_label, **options)
        else:
            options = {"weight": 1.0, "bins": 20, "binning": "hard"} | options
            # its plain form has no mean over no voxel
            value = plain.l1ace(logits, target, ignore_label=self.ignore_label, **options) if self.ignored < 1 else 0
        if self.dice is None:
            return value
        settings = {name: getattr(self.dice, name) for name in ("batch_dice", "do_bg", "smooth")}
        return value + plain.soft_dice(logits, target, **settings, ignore_label=self.ignore_label)

    def batch(self):
        generator = torch.Generator().manual_seed(self.seed)
        logits = 3 * torch.randn(2, self.classes, *self.shape, generator=generator)
        target = torch.randint(0, self.classes, (2, 1, *self.shape), generator=generator)
        ordered = torch.arange(self.shape[0]) >= self.disorder * self.shape[0]
        target[:, :, ordered] = self.classes - 1
        target[torch.rand(target.shape, generator=generator) < self.ignored] = IGNORE
        return logits, target


def value_and_gradient(loss, logits, times=1.0):
    leaf = logits.clone().requires_grad_()
    value = loss(leaf)
    (value * times).backward()
    return value.detach(), leaf.grad


def fused_value(case, target):
    terms = terms_of(case.loss(), case.dice)
    return lambda logits: triton_loss.triton_loss(terms, logits, target)


def assert_equals_plain(case, batch=None):
    logits, target = batch or case.batch()
    expected = value_and_gradient(lambda x: case.plain(x, target), logits.double())
    found = value_and_gradient(fused_value(case, target.float()), logits)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=2e-6, atol=2e-6)


NACL_OPTIONS = {
    "l1": (("kernel_size", (1, 3, 3)),),
    "l2, sum": (("norm", "l2"), ("class_reduction", "sum"), ("weight", 0.3), ("kernel_size", (3, 1, 1))),
    "gaussian, 5": (("kernel", "gaussian"), ("sigma", (1.5, 1.0, 0.7)), ("kernel_size", (1, 5, 3))),
}


@pytest.mark.parametrize("ignored", [0.0, 0.4])
@pytest.mark.parametrize("options", NACL_OPTIONS.values(), ids=NACL_OPTIONS)
def test_nacl(options, ignored):
    assert_equals_plain(Case(options=options, ignored=ignored))


EACH_IMAGE, BATCH, NOT_SMOOTH = DICE, SoftDice(True, True, 1.0), SoftDice(True, False, 0.0)


@pytest.mark.parametrize(
    ("name", "dice", "ignored"),
    [
        ("NACL", EACH_IMAGE, 0.4), ("NACL", BATCH, 0.0), ("NACL", NOT_SMOOTH, 0.4), ("SVLS", EACH_IMAGE, 0.0),
        ("SVLS", BATCH, 0.4), ("L1ACE", EACH_IMAGE, 0.4), ("L1ACE", BATCH, 0.0), ("L1ACE", NOT_SMOOTH, 0.0),
    ],
)  # fmt: skip
def test_with_soft_dice(name, dice, ignored):
    assert_equals_plain(Case(name, dice=dice, ignored=ignored, shape=(5, 6)))


def test_a_window_of_three_axes():
    assert_equals_plain(Case(ignored=0.4))


@pytest.mark.parametrize("bins", [1, 2, 20])
def test_l1ace_with_bins_of_any_number(bins):
    assert_equals_plain(Case("L1ACE", (("bins", bins), ("weight", 0.7)), classes=4, ignored=0.2, shape=(40,)))


@pytest.mark.parametrize("name", ["NACL", "SVLS"])
@pytest.mark.parametrize(("classes", "shape"), [(2, (9, 6)), (3, (9, 6)), (4, (9, 6)), (6, (9, 6)), (20, (3, 3, 3))])
def test_windows_of_few_and_of_many_classes(name, classes, shape):
    """The classes of a window are counted two by two, and the last one is what is left. In each, a part of the patch is of one class."""
    assert_equals_plain(Case(name, classes=classes, shape=shape, disorder=0.5, ignored=0.1 if classes > 4 else 0.0))


@pytest.mark.parametrize(("name", "classes"), [("NACL", 130), ("SVLS", 60), ("L1ACE", 30)])
def test_many_classes(name, classes):
    assert_equals_plain(Case(name, classes=classes, shape=(9,), dice=DICE if classes < 100 else None, disorder=0.2))


@pytest.fixture
def addresses(monkeypatch):
    """Check each address that a kernel reads or writes in the interpreter."""
    interpreter = pytest.importorskip("triton.runtime.interpreter")
    memory, executor, ranges, looked_at = interpreter._interpreter, interpreter.GridExecutor, [], []
    prepare = executor._init_args_hst

    def with_ranges(self, *arguments):
        prepared = prepare(self, *arguments)
        tensors = [item for item in prepared[0] if isinstance(item, torch.Tensor)]
        ranges[:] = [(item.data_ptr(), item.data_ptr() + item.nbytes) for item in tensors]
        return prepared

    def check(pointers, mask):
        found = np.broadcast_arrays(pointers, mask)
        active = found[0][found[1].astype(bool)]
        looked_at.append(active.size)
        outside = [place for place in active.tolist() if not any(first <= place < end for first, end in ranges)]
        assert not outside, f"{len(outside)} addresses of {active.size} are in no tensor"

    class Checked:
        def __getattr__(self, name):
            return getattr(memory, name)

        def load(self, pointers, mask, *others):
            check(pointers, mask)
            return memory.load(pointers, mask, *others)

        def store(self, pointers, values, mask):
            check(pointers, mask)
            assert np.unique(pointers[mask]).size == np.count_nonzero(mask), "two lanes write to one place"
            return memory.store(pointers, values, mask)

        def atomic_rmw(self, operation, pointers, values, mask, *others):
            check(pointers, mask)
            return memory.atomic_rmw(operation, pointers, values, mask, *others)

    monkeypatch.setattr(executor, "_init_args_hst", with_ranges)
    monkeypatch.setattr(interpreter, "_interpreter", Checked())
    yield
    assert sum(looked_at) > 100


@pytest.mark.usefixtures("addresses")
@pytest.mark.parametrize(
    ("name", "shape"), [("NACL", (1,)), ("NACL", (7, 1)), ("NACL", (1, 2, 3)), ("SVLS", (1, 1)), ("L1ACE", (1, 1, 1))]
)
def test_small_shapes(name, shape):
    assert_equals_plain(Case(name, shape=shape, dice=SoftDice(False, True, 1e-5)))


@pytest.mark.usefixtures("addresses")
@pytest.mark.parametrize("name", ["NACL", "SVLS", "L1ACE"])
def test_several_blocks(name, monkeypatch):
    """A patch of more than one block, of which the last is not full."""
    monkeypatch.setattr(triton_loss, "VOXELS_PER_PROGRAM", 16)
    assert_equals_plain(Case(name, (), DICE, shape=(5, 4), ignored=0.2, disorder=0.5))


@pytest.mark.parametrize("name", ["NACL", "SVLS", "L1ACE"])
def test_nothing_but_ignored_voxels_gives_zero_and_a_zero_gradient(name):
    logits, target = Case(name, ignored=1.0).batch()
    value, gradient = value_and_gradient(fused_value(Case(name, ignored=1.0), target), logits)
    assert value == 0
    assert (gradient == 0).all()


# the interpreter is NumPy, which warns where a card would not
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("name", ["NACL", "SVLS", "L1ACE"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_bad_logit(name, bad):
    """At an ignored voxel it does not matter; elsewhere value or gradient are not finite, but for a class that is ruled out."""
    case = Case(name, dice=DICE, ignored=0.3, shape=(9,))
    logits, target = case.batch()
    target[0, 0, 0], target[0, 0, 5] = IGNORE, 1
    expected = value_and_gradient(fused_value(case, target), logits)
    logits[0, :, 0] = bad
    torch.testing.assert_close(value_and_gradient(fused_value(case, target), logits), expected)
    logits[0, 0, 5] = bad
    value, gradient = value_and_gradient(fused_value(case, target), logits)
    assert bad == -float("inf") or not gradient.isfinite().all(), "GradScaler looks at the gradients"
    assert bad == -float("inf") or not value.isfinite()
    logits[0, 1, 5] = -float("inf")
    assert not fused_value(case, target)(logits).isfinite()


@pytest.mark.usefixtures("addresses")
@pytest.mark.parametrize("name", ["NACL", "SVLS", "L1ACE"])
@pytest.mark.parametrize("wrong", [-2, -1, 3])
def test_a_label_that_is_no_class_makes_nan(name, wrong):
    """The value and this voxel's gradient, not that of its neighbours."""
    case = Case(name, shape=(9,), ignored=0.1)
    logits, target = case.batch()
    target[0, 0, 5] = wrong
    value, gradient = value_and_gradient(fused_value(case, target), logits)
    assert value.isnan()
    assert gradient[0, :, 5].isnan().all()
    assert gradient.isnan().sum() == 3


def test_large_logits_lose_no_digits_of_the_value():
    """Softmax does not change with an offset; a float32 beyond 4096 has steps of 0.0005."""
    case = Case(options=(("weight", 0.0), ("kernel_size", 1)), shape=(9,))
    logits, target = case.batch()
    logits = (logits * 64).round() / 64  # not rounded again
    expected, found = (fused_value(case, target)(x) for x in (logits, logits + 4096))
    torch.testing.assert_close(found, expected, rtol=2e-7, atol=0)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("NACL", torch.float16), ("SVLS", torch.float16), ("L1ACE", torch.float16), ("NACL", torch.bfloat16)],
)
def test_half_precision_under_gradscaler(name, dtype):
    """Computed in float32, and scaled by 65536 before it is rounded: 1 / voxels alone is below the smallest half in a large patch."""
    case = Case(name, dice=DICE, shape=(70,))
    logits, target = case.batch()
    half = logits.to(dtype)
    value, gradient = value_and_gradient(fused_value(case, target), half, 65536.0)
    assert (value.dtype, gradient.dtype) == (torch.float32, dtype)
    expected = value_and_gradient(fused_value(case, target), half.float(), 65536.0)
    torch.testing.assert_close(value, expected[0], rtol=1e-6, atol=0)
    torch.testing.assert_close(gradient, expected[1].to(dtype), rtol=2 * torch.finfo(dtype).eps, atol=1e-4)


def test_small_gradients_do_not_underflow_in_half_precision():
    """What a penalty of weight 2^-20 gives to a voxel is 0 in half precision, but not once GradScaler has multiplied it."""
    case = Case(options=(("weight", 2.0**-20),), shape=(6, 6))
    logits = torch.full((2, 3, 6, 6), 0.0).half()
    logits[:, 0] = 60  # the cross-entropy's gradient is 0, that of the penalty remains
    _, gradient = value_and_gradient(fused_value(case, torch.zeros(2, 1, 6, 6)), logits, 65536.0)
    expected = 65536 * 2.0**-20 / 3 / 72
    torch.testing.assert_close(gradient[:, 0].float(), torch.full((2, 6, 6), expected), rtol=1e-3, atol=0)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.float64])
def test_targets_of_any_number(dtype):
    case = Case(shape=(9,))
    logits, target = case.batch()
    expected = value_and_gradient(fused_value(case, target), logits)
    torch.testing.assert_close(value_and_gradient(fused_value(case, target[:, 0].to(dtype)), logits), expected)


def test_no_gradient_wanted_and_no_second_derivative():
    case = Case(shape=(4,))
    logits, target = case.batch()
    with torch.no_grad():
        assert not fused_value(case, target)(logits).requires_grad
    leaf = logits.requires_grad_()
    with pytest.raises(RuntimeError, match="create_graph"):
        torch.autograd.grad(fused_value(case, target)(leaf), leaf, create_graph=True)


cases = st.builds(
    Case,
    st.sampled_from(["NACL", "SVLS", "L1ACE"]),
    dice=st.sampled_from([None, DICE, SoftDice(True, True, 1e-5)]),
    classes=st.integers(2, 6),
    shape=st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple),
    ignored=st.sampled_from([0.0, 0.3]),
    disorder=st.sampled_from([0.0, 0.5, 1.0]),
    seed=st.integers(0, 2**16),
)


@settings(max_examples=25, deadline=None)
@given(case=cases, norm=st.sampled_from(["l1", "l2"]), kernel_size=st.sampled_from([1, 3]))
def test_equals_the_plain_form(case, norm, kernel_size):
    if case.name == "NACL":
        case = replace(case, options=(("norm", norm), ("kernel_size", kernel_size)))
    logits, target = case.batch()
    if case.ignored and not (target != IGNORE).any():
        target[0, 0] = 0
    assert_equals_plain(case, batch=(logits, target))


def test_the_numbers_of_the_terms_are_the_kernels():
    assert {
        "cross-entropy": triton_kernels.CROSS_ENTROPY.value,
        "nacl l1": triton_kernels.NACL_L1.value,
        "nacl l2": triton_kernels.NACL_L2.value,
        "svls": triton_kernels.SVLS.value,
    } == triton_loss._TERMS
    assert triton_kernels.FIXED_POINT.value == triton_loss._FIXED_POINT


@pytest.mark.parametrize(
    "loss",
    [FocalLoss(), NACLLoss(regions=True), SVLSLoss(raters=2), L1ACELoss(binning="soft"), L1ACELoss(regions=True)],
)
def test_other_losses_have_no_kernels(loss):
    assert terms_of(loss) is None


@pytest.fixture
def on_cpu(monkeypatch):
    """The interpreter takes tensors of the CPU, where no kernel would run."""
    monkeypatch.setattr(fused, "DEVICES", ("cpu",))


def dispatched(loss, lines):
    return FusedLoss(loss, loss, terms_of(loss), lines.append)


def test_the_kernels_run_where_they_agree(on_cpu):
    lines, case = [], Case(shape=(4, 4))
    logits, target = case.batch()
    loss = dispatched(case.loss(), lines)
    state = torch.get_rng_state()
    leaf = logits.clone().requires_grad_()
    value = loss(leaf, target)
    assert "_TritonLoss" in value.grad_fn.name()
    value.backward()
    found = value.detach(), leaf.grad
    assert torch.equal(torch.get_rng_state(), state), "the check leaves the training's random numbers alone"
    torch.testing.assert_close(found, value_and_gradient(lambda x: case.loss()(x, target), logits))
    assert lines == ["The loss runs as Triton kernels on cpu, float32; they agreed with PyTorch's operations."]


def test_under_a_compiler_the_loss_itself_is_traced(on_cpu):
    lines, case = [], Case(shape=(4, 4))
    logits, target = case.batch()
    compiled = torch.compile(dispatched(case.loss(), lines), fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(logits, target), case.loss()(logits, target))
    assert lines == []


@pytest.mark.parametrize("fault", ["wrong", "raises"])
def test_the_loss_itself_runs_where_they_do_not(on_cpu, monkeypatch, fault):
    def broken(terms, logits, target):
        if fault == "raises":
            raise RuntimeError("no compiler\nand more")
        return logits.float().square().mean()

    monkeypatch.setattr(triton_loss, "triton_loss", broken)
    lines, case = [], Case(shape=(4, 4))
    logits, target = case.batch()
    loss = dispatched(case.loss(), lines)
    for _ in range(2):
        found = value_and_gradient(lambda x: loss(x, target), logits)
        torch.testing.assert_close(found, value_and_gradient(lambda x: case.loss()(x, target), logits))
    assert len(lines) == 1
    assert ("failed (RuntimeError: no compiler)" if fault == "raises" else "gave another value") in lines[0]


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_the_check_is_of_the_machine_code_that_trains(axes):
    """Triton makes other code for numbers of voxels that are no multiple of 16, and for other dtypes of the labels."""
    like = torch.zeros(1, 3, *[2] * axes)
    for dtype in (torch.int16, torch.float32):
        terms = terms_of(NACLLoss(ignore_label=3))
        _, target = fused._small_batch(terms, like, dtype)
        assert target[0].numel() % 16 == 0
        assert target.dtype == dtype
        assert set(target.unique().tolist()) == {0, 1, 2, 3}
    _, target = fused._small_batch(terms_of(NACLLoss(ignore_label=-1)), like, torch.uint8)
    assert target.min() == -1


def test_what_the_kernels_do_not_take(on_cpu):
    case = Case(shape=(4, 4))
    logits, target = case.batch()
    terms = terms_of(case.loss())
    assert fused.why_not(terms, logits, target) is None
    for reason, arguments in {
        "not contiguous": (logits.transpose(2, 3), target),
        "float64": (logits.double(), target),
        "not one label map": (logits, target.expand(-1, 2, -1, -1)),
        "not of numbers": (logits, target > 0),
        "empty": (logits[:0], target[:0]),
    }.items():
        assert reason in fused.why_not(terms, *arguments)
    wide = terms_of(NACLLoss(kernel_size=21))
    assert "window" in fused.why_not(wide, logits, target)
    with pytest.raises(ValueError, match="label map"):
        dispatched(case.loss(), [])(logits, target.expand(-1, 2, -1, -1))


def test_on_a_cpu_the_loss_itself_runs_and_the_kernels_are_not_imported():
    code = (
        "import sys, torch\n"
        "from nnunet_nacl.losses import NACLLoss\n"
        "from nnunet_nacl.losses.fused import FusedLoss\n"
        "from nnunet_nacl.losses.terms import terms_of\n"
        "loss = NACLLoss()\n"
        "FusedLoss(loss, loss, terms_of(loss), print)(torch.zeros(1, 2, 4), torch.zeros(1, 1, 4))\n"
        "print([name for name in sys.modules if name.startswith('nnunet_nacl.losses.triton')])"
    )
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert finished.stdout.splitlines() == ["The loss runs as PyTorch's operations: the logits are on cpu.", "[]"]


def test_the_compiler_takes_every_kernel(tmp_path):
    """For an H100, on any Linux: ptxas comes with Triton. No kernel spills its registers."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(tmp_path)
    script = Path(__file__).with_name("compile_kernels.py")
    finished = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr[-3000:]
    compiled = [json.loads(line) for line in finished.stdout.splitlines()]
    assert {one["kernel"] for one in compiled} == {"sum_up", "write_gradient"}
    assert {one["TERM"] for one in compiled} == {0, 1, 2, 3}
    for one in compiled:
        used = dict(re.findall(r"(\w+):(\d+)", one["resources"]))
        assert one["instructions"] > 100
        assert one["spills"] == int(used["LOCAL"]) == 0, one
        assert int(used["REG"]) <= 128, one
