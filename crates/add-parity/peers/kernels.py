"""PyTorch's own rounding: `kernels.py > tests/kernels.json` in f32, `kernels.py bf16 > tests/kernels-bf16.json` in bf16, with
torch on two threads.

Each case is one operation. Its result and its gradients are computed in f32 and in f64 from the same numbers; the table holds
how far the two are apart. tests/kernels.rs makes the same numbers and holds this project's f32 to a multiple of that. In bf16
there are products alone, without gradients, of numbers that are rounded to bf16 before anything else.

Element i of the input `name` is u_i = stream(name, i), uniform in [-1, 1), times `scale`, and further, by `values`:
  even      nothing
  wide      times 2^round(10 v_i), v = stream(name.wide): neighbours up to six decades apart
  planes    times 2^round(6 v_p) with p = i / (product of all dimensions after the second)
  offset    30 is added before the scale
All are exact in f32, but for the offset, which is rounded once.
"""

import datetime
import json
import sys

import numpy as np
import torch
from torch.nn import functional as f

GOLDEN, MASK = 0x9E3779B97F4A7C15, (1 << 64) - 1


def stream(name, count):
    """SplitMix64 from the FNV-1a hash of the name; add-nn's `stream_of` and `unit`."""
    state = 0xCBF29CE484222325
    for byte in name.encode():
        state = ((state ^ byte) * 0x100000001B3) & MASK
    z = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(GOLDEN) + np.uint64(state)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return (z >> np.uint64(40)).astype(np.float64) / 2.0**23 - 1.0


def numbers(name, shape, values, scale):
    count = int(np.prod(shape))
    u = stream(name, count)
    if values == "wide":
        u = u * 2.0 ** np.round(10 * stream(f"{name}.wide", count))
    elif values == "planes":
        plane = int(np.prod(shape[2:]))
        u = u * np.repeat(2.0 ** np.round(6 * stream(f"{name}.planes", count // plane)), plane)
    elif values == "offset":
        u = u + 30
    else:
        assert values == "even", values
    return torch.from_numpy((u * scale).astype(np.float32)).reshape(shape)


def attend(s, q, k, v):
    return f.scaled_dot_product_attention(q, k, v, is_causal=s["causal"])


def geglu(_, x):
    value, gate = x.chunk(2, dim=-1)
    return value * f.gelu(gate)


def resize(s, x):
    if s["filter"] == "area":
        return f.interpolate(x, size=s["size"], mode="area")
    return f.interpolate(x, size=s["size"], mode=s["filter"], align_corners=False, antialias=s["antialias"])


def unet(s, x, text):
    """A whole U-Net at timestep 500; its values have the names that diffusers gives them."""
    from diffusers import UNet2DConditionModel

    net = UNet2DConditionModel(**s).eval()
    for name, parameter in net.named_parameters():
        shape = list(parameter.shape)
        if len(shape) > 1:
            value = numbers(f"unet.{name}", shape, "even", (3 * shape[0] / parameter.numel()) ** 0.5)
        elif name.endswith("weight"):
            value = 1 + numbers(f"unet.{name}", shape, "even", 0.2)
        else:
            value = numbers(f"unet.{name}", shape, "even", 0.1)
        parameter.data = value.bfloat16().to(x.dtype)
    return net(x, 500, text).sample


OPERATIONS = {
    "unet": unet,
    "conv2d": lambda s, x, w, b: f.conv2d(x, w, b, s["stride"], s["padding"], 1, s["groups"]),
    "linear": lambda _, x, w, b: f.linear(x, w, b),
    "layer_norm": lambda _, x, w, b: f.layer_norm(x, w.shape, w, b, 1e-5),
    "group_norm": lambda s, x, w, b: f.group_norm(x, s["groups"], w, b, 1e-5),
    "group_norm_silu": lambda s, x, w, b: f.silu(f.group_norm(x, s["groups"], w, b, 1e-5)),
    "attention": attend,
    "geglu": geglu,
    "gelu": lambda _, x: f.gelu(x),
    "silu": lambda _, x: f.silu(x),
    "quick_gelu": lambda _, x: x * torch.sigmoid(1.702 * x),
    "resize": resize,
}


def adamw(p, gradients, second):
    """Parameter and moments after three steps; a moment of its own to begin with, so that no root is of nothing."""
    p = torch.nn.Parameter(p.clone())
    optimizer = torch.optim.AdamW([p], lr=0.01, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.05, foreach=False)
    optimizer.state[p] = {"step": torch.tensor(0.0), "exp_avg": torch.zeros_like(p), "exp_avg_sq": second.abs()}
    for gradient in gradients:
        p.grad = gradient.clone()
        optimizer.step()
    state = optimizer.state[p]
    return {"parameter": p.detach(), "first moment": state["exp_avg"], "second moment": state["exp_avg_sq"]}


def results(case, dtype):
    inputs = [numbers(f"{case['name']}.{i}", *given).to(dtype) for i, given in enumerate(case["inputs"])]
    if case["operation"] == "adamw":
        p, second, *gradients = inputs
        return adamw(p, gradients, second)
    if case["operation"] == "ema":
        return {"value": inputs[0] * 0.999 + inputs[1] * (1 - 0.999)}
    inputs = [x.requires_grad_() for x in inputs]
    y = OPERATIONS[case["operation"]](case["settings"], *inputs)
    cotangent = numbers(f"{case['name']}.cotangent", list(y.shape), case["cotangent"], 1.0).to(dtype)
    gradients = torch.autograd.grad((y * cotangent).sum(), inputs)
    return {"value": y.detach()} | {f"gradient {i}": g for i, g in enumerate(gradients)}


def value(case, dtype):
    """The result from numbers rounded to bf16."""
    inputs = [numbers(f"{case['name']}.{i}", *given).bfloat16().to(dtype) for i, given in enumerate(case["inputs"])]
    with torch.no_grad():
        return {"value": OPERATIONS[case["operation"]](case["settings"], *inputs)}


def measured(case, narrow, wide):
    """Per result: the largest of f64, a sum by which the two sides know that they speak of the same, and the distance."""
    table = {}
    for key, want in wide.items():
        off = narrow[key].double() - want
        weights = torch.from_numpy(stream("sum", want.numel())).reshape(want.shape)
        table[key] = {
            "largest": want.abs().max().item(),
            "sum": (want * weights).sum().item(),
            "off": off.abs().max().item(),
            "off_rms": off.square().mean().sqrt().item(),
        }
    return case | {"results": table}


def cases():
    ranges = ["even", "wide", "planes", "offset"]

    def case(operation, what, inputs, cotangent="even", **settings):
        name = f"{operation} {what}"
        return {
            "name": name,
            "operation": operation,
            "settings": settings,
            "cotangent": cotangent,
            "inputs": [[*(given if isinstance(given, tuple) else (given, "even", 1.0))] for given in inputs],
        }

    def conv(what, x, w, stride=1, groups=1, values="even", cotangent="even"):
        padding = w[2] // 2
        inputs = [(x, values, 1.0), w, [w[0]]]
        return case(
            "conv2d", what, inputs, cotangent, stride=[stride] * 2, padding=[padding] * 2, groups=groups
        )

    for values in ranges:
        for cotangent in ["even"] if values != "even" else ["even", "wide", "planes"]:
            what = values if cotangent == "even" else f"cotangent {cotangent}"
            yield conv(f"3x3 32>32 14x22 {what}", [2, 32, 14, 22], [32, 32, 3, 3], 1, 1, values, cotangent)
            yield conv(f"3x3 96>64 15x23 {what}", [2, 96, 15, 23], [64, 96, 3, 3], 1, 1, values, cotangent)
    yield conv("3x3 320>64 31x29", [1, 320, 31, 29], [64, 320, 3, 3])
    yield conv("3x3 64>320 31x29", [1, 64, 31, 29], [320, 64, 3, 3])
    yield conv("3x3 48>40 65x33", [2, 48, 65, 33], [40, 48, 3, 3])
    yield conv("3x3 640>640 7x11", [2, 640, 7, 11], [640, 640, 3, 3])
    for values in ranges:
        yield conv(f"3x3 64>64 /2 15x23 {values}", [2, 64, 15, 23], [64, 64, 3, 3], 2, 1, values)
        yield conv(f"1x1 96>64 14x22 {values}", [2, 96, 14, 22], [64, 96, 1, 1], 1, 1, values)
        yield conv(f"3x3 4>32 14x22 {values}", [2, 4, 14, 22], [32, 4, 3, 3], 1, 1, values)
        yield conv(f"depthwise 3x3 48 15x23 {values}", [2, 48, 15, 23], [48, 1, 3, 3], 1, 48, values)
    yield conv("3x3 of 4 groups 64>32 14x22", [2, 64, 14, 22], [32, 16, 3, 3], 1, 4)
    for values in ranges:
        yield case("linear", f"2x77 768>320 {values}", [([2, 77, 768], values, 1.0), [320, 768], [320]])
        yield case("linear", f"2x308 64>512 {values}", [([2, 308, 64], values, 1.0), [512, 64], [512]])
        yield case("layer_norm", f"2x77x320 {values}", [([2, 77, 320], values, 1.0), [320], [320]])
        yield case("layer_norm", f"2x1001x37 {values}", [([2, 1001, 37], values, 1.0), [37], [37]])
        for operation in ["group_norm", "group_norm_silu"]:
            inputs = [([2, 64, 14, 22], values, 1.0), [64], [64]]
            yield case(operation, f"4 of 64 14x22 {values}", inputs, groups=4)
            inputs = [([2, 96, 7, 11], values, 1.0), [96], [96]]
            yield case(operation, f"32 of 96 7x11 {values}", inputs, groups=32)
        yield case("geglu", f"2x77x512 {values}", [([2, 77, 512], values, 1.0)])
    for scale in [1.0, 4.0, 32.0]:
        for operation in ["gelu", "silu", "quick_gelu"]:
            yield case(operation, f"times {scale:.0f}", [([3, 5, 311], "even", scale)])
    for what, n, m, causal in [("308", 308, 308, False), ("308>77", 308, 77, False), ("77 causal", 77, 77, True)]:
        for values, scale in [("even", 1.0), ("even", 4.0), ("wide", 0.25), ("planes", 1.0)]:
            inputs = [([2, 3, n, 40], values, scale), ([2, 3, m, 40], "even", scale), ([2, 3, m, 40], values, 1.0)]
            yield case("attention", f"{what} {values} {scale}", inputs, causal=causal)
    yield case("attention", "1100 of one head", [[1, 1, 1100, 64]] * 3, causal=False)
    for size in [[31, 29], [7, 11], [45, 70]]:
        what = f"14x22>{size[0]}x{size[1]}"
        for mode, antialias in [("area", False), ("bilinear", False), ("bilinear", True), ("bicubic", True)]:
            # A direction that grows is linear in this project, and not in PyTorch.
            if mode != "area" or size == [7, 11]:
                name = f"{mode}{' antialiased' if antialias else ''} {what}"
                inputs = [([2, 3, 14, 22], "even", 1.0)]
                yield case("resize", name, inputs, filter=mode, antialias=antialias, size=size)
    for values in ["even", "wide"]:
        inputs = [([5000], "even", 1.0), ([5000], "even", 1.0), *[([5000], values, 1.0)] * 3]
        yield case("adamw", f"three steps {values}", inputs)
        yield case("ema", values, [([5000], values, 1.0), ([5000], values, 1.0)])


def products():
    """Those of `cases` that are computed in bf16, and some of the sizes of Stable Diffusion."""
    yield from (
        case for case in cases() if case["operation"] in ("conv2d", "linear", "attention") and "depthwise" not in case["name"]
    )
    for what, channels, side in [("320 32x32", 320, 32), ("640 16x16", 640, 16)]:
        inputs = [[1, channels, side, side], [channels, channels, 3, 3], [channels]]
        settings = {"stride": [1, 1], "padding": [1, 1], "groups": 1}
        name = f"conv2d 3x3 {what}"
        given = [[shape, "even", 1.0] for shape in inputs]
        yield {"name": name, "operation": "conv2d", "settings": settings, "cotangent": "even", "inputs": given}
    for n, d, scale in [(1024, 64, 1.0), (1024, 64, 4.0), (2048, 40, 2.0)]:
        given = [[[1, 2, n, d], "even", scale], [[1, 2, n, d], "even", scale], [[1, 2, n, d], "even", 1.0]]
        settings = {"causal": False}
        name = f"attention {n}x{d} {scale}"
        yield {"name": name, "operation": "attention", "settings": settings, "cotangent": "even", "inputs": given}


    levels = ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"]
    config = {
        "in_channels": 4, "out_channels": 4, "block_out_channels": [32, 64, 96, 96], "layers_per_block": 2,
        "attention_head_dim": 4, "cross_attention_dim": 48, "norm_num_groups": 16, "sample_size": 32,
        "down_block_types": levels, "up_block_types": [level.replace("Down", "Up") for level in levels[::-1]],
    }
    for h, w in [(32, 32), (22, 14)]:
        given = [[[2, 4, h, w], "even", 1.7], [[2, 77, 48], "even", 1.7]]
        yield {"name": f"unet {h}x{w}", "operation": "unet", "settings": config, "cotangent": "even", "inputs": given}


def main():
    torch.set_num_threads(2)
    if sys.argv[1:] == ["bf16"]:
        rows = [measured(case, value(case, torch.bfloat16), value(case, torch.float64)) for case in products()]
    else:
        rows = [measured(case, results(case, torch.float32), results(case, torch.float64)) for case in cases()]
    head = {
        "torch": torch.__version__,
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "date": datetime.date.today().isoformat(),
    }
    lines = ",\n".join("    " + json.dumps(row) for row in rows)
    print(json.dumps(head)[:-1] + ', "cases": [\n' + lines + "\n]}")


if __name__ == "__main__":
    main()
