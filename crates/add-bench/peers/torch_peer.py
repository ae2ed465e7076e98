"""PyTorch's side of a comparison: `torch_peer.py WORK THREADS`, told on standard input what to do.

WORK is one of the `Work`s of add-bench as JSON. The words of the conversation stand in add-bench's src/worker.rs.
"""

import json
import sys
import time

import torch

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


def unet(work):
    config = {"sd15": SD15, "sdxl": SDXL}[work["model"]]
    net, added = unet_of(config).eval(), None
    if work["model"] == "sdxl":
        added = {"text_embeds": uniform(1, 1280), "time_ids": torch.full((1, 6), 512.0)}
    x, text = uniform(1, 4, work["latent"], work["latent"]), uniform(1, 77, config["cross_attention_dim"])

    def forward():
        with torch.no_grad():
            net(x, 500, text, added_cond_kwargs=added)
    return forward


def training_step(_):
    net = unet_of({**SD21, "block_out_channels": [64, 128, 256, 256], "attention_head_dim": [1, 2, 4, 4],
                   "cross_attention_dim": 64, "sample_size": 32})
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-5)
    x, noise, text = uniform(4, 4, 32, 32), uniform(4, 4, 32, 32), uniform(4, 77, 64)
    t = torch.tensor([10, 300, 600, 990])

    def step():
        torch.nn.functional.mse_loss(net(x, t, text).sample, noise).backward()
        optimizer.step()
        optimizer.zero_grad()
    return step


def one_step_picture(work):
    from diffusers import AutoencoderKL, AutoencoderTiny
    from transformers import CLIPTextConfig, CLIPTextModel

    text = CLIPTextModel(CLIPTextConfig(
        hidden_size=1024, intermediate_size=4096, num_hidden_layers=23, num_attention_heads=16, hidden_act="gelu"
    )).eval()
    net = unet_of(SD21).eval()
    if work["codec"] == "kl":
        codec = AutoencoderKL(
            down_block_types=["DownEncoderBlock2D"] * 4, up_block_types=["UpDecoderBlock2D"] * 4,
            block_out_channels=[128, 256, 512, 512], layers_per_block=2, sample_size=512,
        ).eval()
        scale = 0.18215
    else:
        codec, scale = AutoencoderTiny().eval(), 1.0
    ids, x = torch.ones(1, 77, dtype=torch.long), uniform(1, 4, 64, 64)
    alpha, sigma = 0.068265, 0.997667

    def picture():
        with torch.no_grad():
            eps = net(x, 999, text(ids).last_hidden_state).sample
            codec.decode((x - sigma * eps) / alpha / scale)
    return picture


def memory(field):
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith(field):
                return 1024 * int(line.split()[1])
    return 0


def main():
    work, threads = json.loads(sys.argv[1]), int(sys.argv[2])
    torch.set_num_threads(threads)
    job = globals()[work["kind"]](work)
    job()
    try:
        with open("/proc/self/clear_refs", "w") as peak:
            peak.write("5")
    except OSError:
        pass
    rest = memory("VmRSS")
    print("ready", flush=True)
    for line in sys.stdin:
        start = time.perf_counter()
        for _ in range(int(line.split()[1])):
            job()
        print(time.perf_counter() - start, flush=True)
    print("peak", memory("VmHWM"), "rest", rest, flush=True)


main()
