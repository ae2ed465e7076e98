"""PyTorch's side of a comparison: `torch_peer.py WORK THREADS VARIANT`, told on standard input what to do.

WORK is one of the `Work`s of add-bench as JSON; VARIANT is how whole networks compute: `eager` and `compile` in f32, `bf16` with
values and inputs in bf16 (a training step: by autocast).
"""

import contextlib
import json
import sys

import torch

import protocol

torch.manual_seed(0)


def uniform(*shape):
    return torch.rand(*shape) * 2 - 1


def operation(work, inputs, f):
    if work["pass"] == "forward":
        def forward():
            with torch.no_grad():
                f(*inputs)
        return forward
    for x in inputs:
        x.requires_grad_()
    weights = uniform(*f(*inputs).shape)

    def both():
        loss = (f(*inputs) * weights).sum()
        torch.autograd.grad(loss, inputs)
    return both


def conv(work):
    x, out, k = work["x"], work["out"], work["kernel"]
    inputs = [uniform(*x), uniform(out, x[1], k, k), uniform(out)]
    return operation(work, inputs, lambda x, w, b: torch.nn.functional.conv2d(x, w, b, padding=k // 2))


def group_norm_silu(work):
    channels = work["x"][1]
    inputs = [uniform(*work["x"]), uniform(channels), uniform(channels)]
    f = torch.nn.functional
    return operation(work, inputs, lambda x, w, b: f.silu(f.group_norm(x, 32, w, b, 1e-5)))


def attention(work):
    b, h, _, d = work["q"]
    inputs = [uniform(*work["q"]), uniform(b, h, work["keys"], d), uniform(b, h, work["keys"], d)]
    return operation(work, inputs, torch.nn.functional.scaled_dot_product_attention)


def layer_norm(work):
    channels = work["x"][2]
    inputs = [uniform(*work["x"]), uniform(channels), uniform(channels)]
    return operation(work, inputs, lambda x, w, b: torch.nn.functional.layer_norm(x, [channels], w, b, 1e-5))


def geglu(work):
    def f(x):
        value, gate = x.chunk(2, -1)
        return value * torch.nn.functional.gelu(gate)
    return operation(work, [uniform(*work["x"])], f)


def linear(work):
    inputs = [uniform(*work["x"]), uniform(work["out"], work["x"][2]), uniform(work["out"])]
    return operation(work, inputs, torch.nn.functional.linear)


SD21 = dict(
    attention_head_dim=[5, 10, 20, 20], cross_attention_dim=1024, use_linear_projection=True, sample_size=64
)
SDXL = dict(
    attention_head_dim=[5, 10, 20], cross_attention_dim=2048, use_linear_projection=True, sample_size=128,
    block_out_channels=[320, 640, 1280], transformer_layers_per_block=[1, 2, 10],
    down_block_types=["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    up_block_types=["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    addition_embed_type="text_time", addition_time_embed_dim=256, projection_class_embeddings_input_dim=2816,
)
SD15 = dict(attention_head_dim=8, cross_attention_dim=768, sample_size=64)


def unet_of(config):
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(**config)


class Unet(torch.nn.Module):
    def __init__(self, config):
        super().__init__()
        self.net = unet_of(config)

    def forward(self, x, t, text, text_embeds=None, time_ids=None):
        added = None if text_embeds is None else {"text_embeds": text_embeds, "time_ids": time_ids}
        return self.net(x, t, text, added_cond_kwargs=added, return_dict=False)[0]


class Text(torch.nn.Module):
    """The 23 of OpenCLIP H's 24 layers that SD2.1 and SD-Turbo use."""

    def __init__(self):
        super().__init__()
        from transformers import CLIPTextConfig, CLIPTextModel

        self.net = CLIPTextModel(CLIPTextConfig(
            hidden_size=1024, intermediate_size=4096, num_hidden_layers=23, num_attention_heads=16, hidden_act="gelu"
        ))

    def forward(self, ids):
        return self.net(ids).last_hidden_state


class Decoder(torch.nn.Module):
    def __init__(self, kind):
        super().__init__()
        from diffusers import AutoencoderKL, AutoencoderTiny

        self.net = AutoencoderTiny() if kind == "tiny" else AutoencoderKL(
            down_block_types=["DownEncoderBlock2D"] * 4, up_block_types=["UpDecoderBlock2D"] * 4,
            block_out_channels=[128, 256, 512, 512], layers_per_block=2, sample_size=512,
        )

    def forward(self, z):
        return self.net.decode(z, return_dict=False)[0]


def networks(work):
    """The networks of WORK, each with what goes into it."""
    if work["kind"] == "unet":
        config = {"sd15": SD15, "sdxl": SDXL}[work["model"]]
        x, text = uniform(1, 4, work["latent"], work["latent"]), uniform(1, 77, config["cross_attention_dim"])
        added = [uniform(1, 1280), torch.full((1, 6), 512.0)] if work["model"] == "sdxl" else []
        return {"unet": (Unet(config).eval(), [x, torch.tensor(500.0), text, *added])}
    z = uniform(1, 4, 64, 64)
    return {
        "text": (Text().eval(), [torch.ones(1, 77, dtype=torch.long)]),
        "unet": (Unet(SD21).eval(), [z, torch.tensor(999.0), uniform(1, 77, 1024)]),
        "decoder": (Decoder(work["codec"]).eval(), [z]),
    }


def of_networks(work, variant):
    call, inputs = {}, {}
    for name, (net, args) in networks(work).items():
        if variant == "bf16":
            net = net.to(torch.bfloat16)
            args = [x.to(torch.bfloat16) if x.is_floating_point() and x.dim() > 0 else x for x in args]
        call[name] = torch.compile(net) if variant == "compile" else net
        inputs[name] = args
    job = protocol.inference(work, call, inputs)

    def without_tape():
        with torch.no_grad():
            job()
    return without_tape


def training_step(_, variant):
    net = unet_of({**SD21, "block_out_channels": [64, 128, 256, 256], "attention_head_dim": [1, 2, 4, 4],
                   "cross_attention_dim": 64, "sample_size": 32})
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-5)
    x, noise, text = uniform(4, 4, 32, 32), uniform(4, 4, 32, 32), uniform(4, 77, 64)
    t = torch.tensor([10, 300, 600, 990])
    forward = torch.compile(net) if variant == "compile" else net
    in_type = torch.autocast("cpu", torch.bfloat16) if variant == "bf16" else contextlib.nullcontext()

    def step():
        with in_type:
            loss = torch.nn.functional.mse_loss(forward(x, t, text).sample, noise)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return step


NETWORKS = {"unet": of_networks, "one_step_picture": of_networks, "training_step": training_step}


def main():
    work, threads, variant = json.loads(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    torch.set_num_threads(threads)
    if work["kind"] in NETWORKS:
        protocol.serve(NETWORKS[work["kind"]](work, variant))
    else:
        protocol.serve(globals()[work["kind"]](work))


if __name__ == "__main__":
    main()
