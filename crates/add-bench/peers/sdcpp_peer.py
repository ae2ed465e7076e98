"""stable-diffusion.cpp's side of a comparison, by cyllama: `sdcpp_peer.py WORK THREADS PRECISION FOLDER`, told on standard input
what to do.

`sdcpp_peer.py export WORK FOLDER` comes first and by itself: it draws a model in f16, as one file in which the names of diffusers
have the beginnings that the library gives them. It keeps values as they are in the file, and computes in f32 and f16.
"""

import json
import os
import pathlib
import sys


PREFIXES = {"text": "te", "unet": "unet", "decoder": "vae"}


def export(work, folder):
    import torch
    from safetensors.torch import save_file

    import torch_peer

    modules = {name: net.net for name, (net, _) in torch_peer.networks(work).items()}
    if work["codec"] == "tiny":
        # The library wants a whole model, also where the tiny decoder takes the place of its own.
        modules["decoder"].half().save_pretrained(folder / "taesd")
        modules["decoder"] = torch_peer.Decoder("kl").net
    tensors = {}
    for name, net in modules.items():
        for key, value in net.half().state_dict().items():
            # transformers 5 leaves out what every name of its text encoder began with.
            inner = "text_model." if name == "text" and not key.startswith("text_model.") else ""
            tensors[f"{PREFIXES[name]}.{inner}{key}"] = value.contiguous()
    save_file(tensors, folder / "model.safetensors")


def run(work, threads, folder):
    from cyllama.sd import SDContext, SDContextParams

    import protocol

    # The library says what it does on standard output, which belongs to the conversation.
    said = os.dup(1)
    os.dup2(2, 1)
    sys.stdout = os.fdopen(said, "w")
    params = SDContextParams()
    params.model_path = str(folder / "model.safetensors")
    params.n_threads = threads
    # Else its values are gone after the first picture.
    params.free_params_immediately = False
    if work["codec"] == "tiny":
        params.taesd_path = str(folder / "taesd" / "diffusion_pytorch_model.safetensors")
    context = SDContext(params)
    caption = "a red fox in the snow"
    protocol.serve(lambda: context.generate(prompt=caption, width=512, height=512, sample_steps=1, cfg_scale=1.0))


if sys.argv[1] == "export":
    export(json.loads(sys.argv[2]), pathlib.Path(sys.argv[3]))
else:
    run(json.loads(sys.argv[1]), int(sys.argv[2]), pathlib.Path(sys.argv[4]))
