"""stable-diffusion.cpp's side of a comparison, by cyllama: `sdcpp_peer.py WORK THREADS PRECISION FOLDER`, told on standard input
what to do.

`sdcpp_peer.py export WORK FOLDER` comes first and by itself: it draws a model, as a folder of diffusers in f16. The library keeps
values as they are in the files; it computes in f32 and f16.
"""

import json
import os
import pathlib
import sys


def export(work, folder):
    import torch

    import torch_peer

    modules = {name: net.net for name, (net, _) in torch_peer.networks(work).items()}
    folders = {"text": "text_encoder", "unet": "unet", "decoder": "taesd" if work["codec"] == "tiny" else "vae"}
    with torch.no_grad():
        for name, net in modules.items():
            net.half().save_pretrained(folder / folders[name])
    if work["codec"] == "tiny":
        # The library wants a whole model, also where the tiny decoder takes the place of its own.
        torch_peer.Decoder("kl").net.half().save_pretrained(folder / "vae")


def run(work, threads, folder):
    from cyllama.sd import SDContext, SDContextParams

    import protocol

    # The library says what it does on standard output, which belongs to the conversation.
    said = os.dup(1)
    os.dup2(2, 1)
    sys.stdout = os.fdopen(said, "w")
    params = SDContextParams()
    params.model_path = str(folder)
    params.n_threads = threads
    if work["codec"] == "tiny":
        params.taesd_path = str(folder / "taesd" / "diffusion_pytorch_model.safetensors")
    context = SDContext(params)
    caption = "a red fox in the snow"
    protocol.serve(lambda: context.generate(prompt=caption, width=512, height=512, sample_steps=1, cfg_scale=1.0))


if sys.argv[1] == "export":
    export(json.loads(sys.argv[2]), pathlib.Path(sys.argv[3]))
else:
    run(json.loads(sys.argv[1]), int(sys.argv[2]), pathlib.Path(sys.argv[4]))
