"""Every kernel refuses arguments of wrong shapes, types and sizes, on every backend, with the same kind of sentence."""

import inspect

import numpy as np
import pytest

from backends import BackendError
from backends.arguments import TABLE, Rule
from backends.interface import KERNELS, Adaptation, Backend, NeuronState
from backends.randomness import Draw
from backends.surrogates import triangle

T, B, H, W, C, D, F = 3, 2, 4, 6, 5, 7, 8  # all different, but for the kernel of 3×3


class Bad:
    """right(name): arguments of a kernel by name; wrong(name): for each argument, values that must be refused."""

    def __init__(self, k):
        self.k, self.draw = k, Draw(0, 7)

    def a(self, *shape):
        return self.k.asarray(np.ones(shape))

    def ints(self, *shape):
        return self.k.asarray(np.ones(shape, np.int64))

    def odd(self, *shape):
        """Arrays of this shape that are not of the backend's type: other precision, whole numbers, not an array."""
        other = np.ones(shape, np.float64 if self.k.dtype == "float32" else np.float32)
        if self.k.name == "torch":
            import torch

            other = torch.from_numpy(other).to(self.k.device)
        return [other, self.ints(*shape), np.ones(shape).tolist(), "text"]

    def floats(self, *shape, wrong=()):
        """Another number of axes, each axis longer, and wrong types."""
        return [self.a(), self.a(*shape, 2, 2), *(self.a(*s) for s in wrong), *self.odd(*shape), None]

    def around(self, *shape, free=()):
        """Every size of the shape one larger, and zero, except for axes of any size."""
        for axis in set(range(len(shape))) - set(free):
            for size in (shape[axis] + 1, 0):
                yield (*shape[:axis], size, *shape[axis + 1 :])

    def saved(self, name):
        k, a = self.k, self.a
        return {
            "clip": lambda: k.clip(a(B, F), 0.0, 1.0)[1],
            "conv2d": lambda: k.conv2d(a(T, B, H, W, C), a(3, 3, C, D), 1, 1)[1],
            "linear": lambda: k.linear(a(T, B, F), a(F, D))[1],
            "avg_pool": lambda: k.avg_pool(a(T, B, H, W, C))[1],
            "relu": lambda: k.relu(a(T, B, F))[1],
            "lif_forward": lambda: k.lif_forward(a(T, B, F), None, a(1), a(1), T)[2],
        }[name]()

    def backward(self, name, *shape):
        wrong = self.floats(*shape, wrong=self.around(*shape))
        other = "relu" if name != "relu" else "clip"
        return [
            ("saved", self.saved(name), [self.saved(other), (1, 2), None]),
            ("grad", self.a(*shape), wrong),
        ]

    def neurons(self, *shape):
        flat = list(self.around(*shape))
        states = [NeuronState(self.a(*s)) for s in flat] + [(self.a(*shape), None), *map(NeuronState, self.odd(*shape))]
        one = self.floats(1, wrong=[(0,), (2,)])
        return [
            ("state", NeuronState(self.a(*shape)), states),
            ("leak", self.a(1), one),
            ("threshold", self.a(1), one),
            ("steps", T, [0, -1, T + 1, 1.5, "3", None]),
            ("reset", "immediate", ["never", None]),
            ("mask", self.a(*shape), [self.a(*s) for s in flat] + self.odd(*shape)),
        ]

    def cases(self):
        k, a, n = self.k, self.a, [-1, 1.5, "2", None]
        store = k.asarray(np.zeros((9, H, W, C), np.uint8))
        index, shift, flip = np.arange(B), np.full((B, 2), 2), np.zeros(B, np.int64)
        huge = [np.full(s, v) for s in [(B,)] for v in (-1, 9, 10**6, 2**40, -(2**40))]
        window = [("stride", 1, [0, *n]), ("padding", 1, n)]
        kernel = ("weight", a(3, 3, C, D), self.floats(3, 3, C, D, wrong=self.around(3, 3, C, D, free=[3])))
        image = ("x", a(T, B, H, W, C), self.floats(T, B, H, W, C, wrong=[(B, H, W, C)]))
        any_float = self.odd(B, F)
        yield "reshape", [("array", a(B, F), ["text", None]), ("shape", (F, B), [(F, B + 1), (-1,), (F, B, 0), 2.5])]
        yield "rows", [("array", a(B, F), [None]), ("start", 0, n), ("stop", 1, [B + 1, 2**40, *n])]
        values = [a(B, F + 1), a(T + 1, F), a(1), None]
        yield "write_rows", [("array", a(T, F), [None]), ("start", 1, [T, 2**40, *n]), ("values", a(B, F), values)]
        yield "top_k", [("array", a(B, F), [None, [1.0]]), ("count", 3, [0, *n])]
        yield "events", [("array", a(B, F), [None, [1.0]])]
        shape = ("shape", (B, F), [(-1, 2), (1.5,), 3, None, "ab"])
        yield "random", [("draw", self.draw, []), shape, ("first", 0, n), ("distribution", "normal", ["cauchy", None])]
        yield (
            "dropout_mask",
            [("draw", self.draw, []), shape, ("dropout_rate", 0.5, [1.0, -0.1, np.nan]), ("first", 0, n)],
        )
        images = ("images", a(B, F), [a(), *any_float, None])
        yield (
            "rate_code",
            [("draw", self.draw, []), images, ("first_step", 0, n), ("steps", T, [0, *n]), ("first", 0, n)],
        )
        yield (
            "image_batch",
            [
                ("store", store, [a(9, H, W, C), k.asarray(np.zeros((9, H, W), np.uint8)), None]),
                ("index", index, [*huge, index[:1], index[:, None], index * 1.0, index.tolist(), None]),
                ("shift", shift, [shift - 3, shift + 3, shift + 2**40, shift[:, :1], shift[:1], shift * 1.0, None]),
                ("flip", flip, [flip + 2, flip - 1, flip[:1], flip * 1.0, None]),
                ("padding", 2, n),
            ],
        )
        numbers = [(1.0,) * (F - 1), (1.0,) * (F + 1), (), 1.0, None]
        yield "scale_shift", [("x", a(B, F), any_float), ("scale", (1.0,) * F, numbers), ("shift", (0.0,) * F, numbers)]
        yield "clip", [("x", a(B, F), any_float), ("low", 0.0, []), ("high", 1.0, [])]
        yield "clip_backward", self.backward("clip", B, F)
        same = [a(*s) for s in self.around(B, F)] + any_float
        bounds = [("step", 0.1, []), ("low", 0.0, []), ("high", 1.0, [])]
        yield "sign_step", [("x", a(B, F), any_float), ("grad", a(B, F), same), *bounds, ("center", a(B, F), same)]
        yield "scale_to_norm", [("x", a(B, F), [a(), *any_float]), ("order", 2, [0, 3, "2", None])]
        others = [a(*s) for s in self.around(B, F)] + any_float
        yield "multiply", [("a", a(B, F), any_float), ("b", a(B), [a(F), a(B + 1), a(), 2.0, None, *others])]
        yield "greater", [("a", a(B, F), any_float), ("b", a(B, F), [a(B), "1", None, *others])]
        pair = [(name, a(B, F), [a(), *others]) for name in ("a", "b")]
        yield "select", [("flags", a(B), [a(F), a(B + 1), a(), *self.odd(B)]), *pair]
        yield "power", [("x", a(B, F), any_float), ("exponent", 0.5, ["2", None])]
        yield "add", [("a", a(B, F), any_float), ("b", a(B, F), same)]
        yield "conv2d", [image, kernel, *window]
        yield "conv2d_backward", self.backward("conv2d", T, B, H, W, D)
        matrix = self.floats(F, D, wrong=self.around(F, D, free=[1]))
        yield "linear", [("x", a(T, B, F), self.floats(T, B, F, wrong=[(B, F)])), ("weight", a(F, D), matrix)]
        yield "linear_backward", self.backward("linear", T, B, D)
        yield "avg_pool", [image]
        yield "avg_pool_backward", self.backward("avg_pool", T, B, H // 2, W // 2, C)
        yield "sum_time", [("x", a(T, B), [a(), *self.odd(T, B)])]
        yield "repeat_time", [("x", a(1, B), [a(), a(2, B), *self.odd(1, B)]), ("steps", T, [0, *n])]
        wrong = [a(), a(T - 1, B, F), a(T + 1, B, F), *self.odd(T, B, F)]
        yield "lif_forward", [("current", a(T, B, F), wrong), *self.neurons(B, F)]
        yield "conv_lif_forward", [image, kernel, *window, *self.neurons(B, H, W, D)]
        memories = [Adaptation(a(*s), a(T, B, F)) for s in self.around(T, B, F)]
        yield (
            "lif_backward",
            [
                ("saved", self.saved("lif_forward"), [self.saved("relu"), None]),
                ("grad_spikes", a(T, B, F), [a(*s) for s in self.around(T, B, F)] + self.odd(T, B, F)),
                ("grad_state", NeuronState(a(B, F)), [NeuronState(a(*s)) for s in self.around(B, F)] + [a(B, F)]),
                ("surrogate", triangle(), []),
                ("reset_grad", False, []),
                ("want_state", True, []),
                ("adaptation", Adaptation(a(T, B, F), a(T, B, F)), [(a(T, B, F),) * 2, *memories]),
            ],
        )
        mask = [a(*s) for s in self.around(B, F)] + self.odd(B, F)
        yield "relu", [("x", a(T, B, F), [a(), *self.odd(T, B, F)]), ("mask", a(B, F), mask)]
        yield "relu_backward", self.backward("relu", T, B, F)
        labels = [[0, 1], self.ints(B + 1), self.ints(B, 1), a(B), None]
        if k.device == "cpu":
            labels += [k.asarray(np.array([0, bad])) for bad in (-1, -F, F, 2**40)]
        classes = ("logits", a(B, F), [a(B), *any_float, None])
        yield "cross_entropy", [classes, ("labels", self.ints(B), labels), ("weight", 1.0, [])]
        losses = ["hinge", "margin", "dlr", None, 1]  # those without targets are refused with them
        targets = [x for x in labels if x is not None]
        classes = ("logits", a(B, F), [a(B), a(B, 3), *any_float, None])
        of = [
            ("labels", self.ints(B), labels),
            ("kind", "dlr-targeted", losses),
            ("targets", self.ints(B), [*targets, None]),
        ]
        yield "logit_loss", [classes, *of]
        rates = [(name, 0.1, []) for name in ("learning_rate", "momentum", "decay")]
        limits = [("low", -1.0, []), ("high", 1.0, [])]
        own, other = (
            ("parameter", a(B, F), any_float),
            [a(*s) for s in self.around(B, F)] + [*any_float[:1], *any_float[2:], None],
        )
        yield "sgd_step", [own, ("grad", a(B, F), same), ("velocity", a(B, F), same), *rates, *limits]
        moments = [(name, a(B, F), other) for name in ("mean", "square")]
        numbers = [("learning_rate", 0.1, []), ("decays", (0.9, 0.99), []), ("epsilon", 1e-8, []), ("step", 1, [0, -1])]
        largest = ("max_square", a(B, F), same)
        yield "adam_step", [own, ("grad", a(B, F), same), *moments, largest, *numbers, *limits]


def test_every_kernel_has_a_row_and_every_row_a_kernel(backend):
    """Only the constructors of arrays, and reading one, take anything. Names are those of the contract."""
    assert {*TABLE} == {*KERNELS} - {"asarray", "to_numpy", "zeros"}
    cases = dict(Bad(backend).cases())
    assert {*cases} == {*TABLE}
    for name, rules in TABLE.items():
        arguments = {argument for argument, rule in rules.items() if isinstance(rule, Rule)}
        assert {n for n, _, wrong in cases[name] if wrong} == arguments, name
        parameters = {*inspect.signature(getattr(Backend, name)).parameters}
        assert arguments <= parameters | {"reset", "mask"}, name


def test_wrong_arguments_are_refused(backend):
    count = 0
    for method, arguments in Bad(backend).cases():
        kernel, right = getattr(backend, method), {name: value for name, value, _ in arguments}
        for name, _, wrong in arguments:
            for value in wrong:
                try:
                    with pytest.raises(BackendError, match=f"^{method} was given .*: see ") as caught:
                        kernel(**{**right, name: value})
                except BaseException as error:  # DID NOT RAISE is not an Exception
                    shape = getattr(value, "shape", value)
                    raise AssertionError(f"{method}: {name} = {shape} of {type(value)}: {error!r:.300}") from error
                assert "\n" not in str(caught.value)
                count += 1
    assert count > 350


def test_right_arguments_are_accepted_by_name_and_by_position(backend):
    for method, arguments in Bad(backend).cases():
        getattr(backend, method)(**{name: value for name, value, _ in arguments})
    for method, arguments in Bad(backend).cases():
        given = {name: value for name, value, _ in arguments}
        parameters = inspect.signature(getattr(Backend, method)).parameters.values()
        positional = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD and p.name in given]
        first = [given.pop(name) for name in positional]
        getattr(backend, method)(*first, **given)


@pytest.mark.parametrize("padding, side, stride", [(0, 5, 1), (1, 7, 1), (0, 5, 3)])
def test_kernels_larger_than_the_images_are_refused(backend, padding, side, stride):
    x, weight = backend.asarray(np.ones((T, B, 4, 6, C))), backend.asarray(np.ones((side, side, C, D)))
    expected = (
        f"the {side}×{side} kernel is larger than the padded {4 + 2 * padding}×{6 + 2 * padding} images: see conv2d"
    )
    with pytest.raises(BackendError, match=f"^conv2d was given arguments that do not fit together: {expected}"):
        backend.conv2d(x, weight, stride, padding)


def test_an_empty_kernel_is_refused(backend):
    x, weight = backend.asarray(np.ones((T, B, 4, 6, C))), backend.asarray(np.ones((0, 0, C, D)))
    with pytest.raises(BackendError, match="the 0×0 kernel is empty"):
        backend.conv2d(x, weight, 1, 0)


@pytest.mark.parametrize(
    "kind, given, sentence",
    [
        ("dlr", True, "targets were given for the loss dlr, but only dlr-targeted takes them"),
        ("dlr-targeted", False, "the loss dlr-targeted needs targets"),
    ],
)
def test_targets_and_the_loss_fit_together(backend, kind, given, sentence):
    logits, labels = backend.asarray(np.ones((B, F))), backend.asarray(np.zeros(B, np.int64))
    with pytest.raises(BackendError, match=f"logit_loss was given arguments that do not fit together: {sentence}"):
        backend.logit_loss(logits, labels, kind, labels if given else None)


def test_sizes_are_named_as_tuples(backend):
    with pytest.raises(BackendError, match=r"where \*S = \(2, 8\): see add"):
        backend.add(backend.asarray(np.ones((B, F))), backend.asarray(np.ones((B, F + 1))))


def test_small_images_need_no_padding_where_nothing_is_shifted(backend):
    store, index = backend.asarray(np.zeros((3, 2, 2, 1), np.uint8)), np.arange(3)
    assert tuple(backend.image_batch(store, index, np.full((3, 2), 4), index * 0, 4).shape) == (3, 2, 2, 1)
    with pytest.raises(BackendError, match="for images larger than the padding"):
        backend.image_batch(store, index, np.full((3, 2), 3), index * 0, 4)


def test_fused_kernels_save_the_shapes_for_both_backward_kernels(backend):
    calls = Bad(backend)
    a = calls.a
    for steps in (1, T):
        x, weight = a(steps, B, H, W, C), a(3, 3, C, D)
        spikes, _, saved, conv_saved = backend.conv_lif_forward(x, weight, 1, 1, None, a(1), a(1), T)
        assert tuple(spikes.shape) == (T, B, H, W, D)
        with pytest.raises(BackendError, match="conv2d_backward was given grad"):
            backend.conv2d_backward(conv_saved, a(steps + 1, B, H, W, D))
        with pytest.raises(BackendError, match="lif_backward was given grad_spikes"):
            backend.lif_backward(saved, a(T, B, H, W, C), None, triangle())
        grad = backend.lif_backward(saved, a(T, B, H, W, D), None, triangle())[0]
        assert tuple(backend.conv2d_backward(conv_saved, grad)[0].shape) == (steps, B, H, W, C)
