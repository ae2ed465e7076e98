"""From the start of a process to its first picture, and the memory on the way: SD-Turbo at 512 pixels, one step.

    python cold.py ADD FOLDER [--turns 3] [--threads 2] [--only PART]

ADD is the binary. FOLDER takes a model with drawn weights, 2.6 GB in half precision, in the form that each program reads: a
folder of diffusers, OpenVINO's files (5.1 GB, f32), a single file for stable-diffusion.cpp. All of it is made at the first call.
A program begins with the files in the system's memory, encodes one caption (OpenVINO: its tokens), calls the U-Net once, decodes
by the KL or by the tiny autoencoder and writes a PNG. Each is a process of its own, in turns. Prints a Markdown table, and
writes FOLDER/cold.json. Programs that are not there are named.
"""

import argparse
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[3]
RECIPE, CAPTION = "configs/sd-turbo.ron", "a red fox in the snow"
# Of the released schedule at its last timestep, and the factor of the latents.
ALPHA, SIGMA = 0.068265, 0.997667
SCALE = {"kl": 0.18215, "tiny": 1.0}
PACKAGES = {
    "torch": ["torch", "diffusers", "transformers"], "torch-bf16": ["torch", "diffusers", "transformers"],
    "openvino": ["openvino", "PIL"], "openvino-bf16": ["openvino", "PIL"], "sdcpp": ["cyllama"],
}


def run(command, threads, wanted=True):
    """Seconds and megabytes of a program."""
    env = os.environ | {name: str(threads) for name in ["RAYON_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"]}
    start = time.perf_counter()
    child = subprocess.Popen([str(part) for part in command], cwd=ROOT, env=env, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - start
    if wanted and status:
        raise SystemExit(f"{command[:3]} ended with {status}")
    return seconds, used.ru_maxrss / 1000


def make(binary, folder):
    """The model in all forms."""
    import torch
    from diffusers import AutoencoderTiny

    sys.path.insert(0, str(ROOT / "crates/add-parity/peers"))
    import clients

    pipe = folder / "pipe"
    clients.make("sd21", pipe)
    torch.manual_seed(4)
    AutoencoderTiny().half().save_pretrained(folder / "taesd")
    common = ["--set", f'model.weights=Diffusers("{pipe}")', "--set", f'text=OpenClipH(weights: "{pipe}/text_encoder")',
              "--set", f'codec=KlVae(weights: "{pipe}/vae", scaling_factor: 0.18215)']
    run([binary, "export", RECIPE, folder / "diffusers", "--format", "diffusers", *common], 2)
    run([binary, "export", RECIPE, folder / "single", "--format", "ldm", *common], 2)


def make_openvino(folder):
    import numpy
    import openvino
    import torch
    from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel
    from transformers import CLIPTextModel

    class Part(torch.nn.Module):
        def __init__(self, net, call):
            super().__init__()
            self.net, self.call = net.float().eval(), call

        def forward(self, *args):
            return self.call(self.net, *args)

    z, ids = torch.randn(1, 4, 64, 64), torch.ones(1, 77, dtype=torch.long)
    decode = lambda net, z: net.decode(z, return_dict=False)[0]
    pipe = folder / "pipe"
    parts = {
        "text": (CLIPTextModel.from_pretrained(pipe / "text_encoder"), lambda net, ids: net(ids).last_hidden_state, [ids]),
        "unet": (UNet2DConditionModel.from_pretrained(pipe / "unet"), lambda net, *args: net(*args, return_dict=False)[0],
                 [z, torch.tensor(999.0), torch.randn(1, 77, 1024)]),
        "kl": (AutoencoderKL.from_pretrained(pipe / "vae"), decode, [z]),
        "tiny": (AutoencoderTiny.from_pretrained(folder / "taesd"), decode, [z]),
    }
    (folder / "openvino").mkdir()
    for name, (net, call, args) in parts.items():
        with torch.no_grad():
            model = openvino.convert_model(Part(net, call), example_input=tuple(args), input=[tuple(x.shape) for x in args])
        openvino.save_model(model, folder / "openvino" / f"{name}.xml", compress_to_fp16=False)
        numpy.savez(folder / "openvino" / f"{name}.npz", *[x.numpy() for x in args])


def of_torch(folder, codec, threads, out, dtype):
    import torch
    from diffusers import AutoencoderTiny, StableDiffusionPipeline

    torch.set_num_threads(threads)
    dtype = getattr(torch, dtype)
    pipe = StableDiffusionPipeline.from_pretrained(folder / "diffusers", torch_dtype=dtype, local_files_only=True)
    if codec == "tiny":
        pipe.vae = AutoencoderTiny.from_pretrained(folder / "taesd", torch_dtype=dtype)
    pipe.set_progress_bar_config(disable=True)
    pipe(CAPTION, num_inference_steps=1, guidance_scale=0.0, height=512, width=512).images[0].save(out)


def of_openvino(folder, codec, threads, out, precision):
    import numpy
    import openvino
    from PIL import Image

    core = openvino.Core()
    settings = {
        "INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY",
    }
    call = {name: core.compile_model(folder / "openvino" / f"{name}.xml", "CPU", settings) for name in ["text", "unet", codec]}
    (ids,), (z, t, _) = [numpy.load(folder / "openvino" / f"{name}.npz").values() for name in ["text", "unet"]]
    eps = call["unet"]([z, t, call["text"]([ids])[0]])[0]
    pixels = call[codec]([(z - SIGMA * eps) / ALPHA / SCALE[codec]])[0]
    pixels = numpy.clip(pixels[0].transpose(1, 2, 0) * 127.5 + 127.5, 0, 255).astype(numpy.uint8)
    Image.fromarray(pixels).save(out)


def of_sdcpp(folder, codec, threads, out):
    from cyllama.sd import SDContext, SDContextParams

    params = SDContextParams()
    params.model_path = str(next((folder / "single").glob("*.safetensors")))
    params.n_threads = threads
    if codec == "tiny":
        params.taesd_path = str(folder / "taesd" / "diffusion_pytorch_model.safetensors")
    images = SDContext(params).generate(prompt=CAPTION, width=512, height=512, sample_steps=1, cfg_scale=1.0)
    images[0].save(str(out))


def ours(binary, folder, codec, out, dtype):
    pipe = folder / "pipe"
    if codec == "kl":
        codec = f'codec=KlVae(weights: "{pipe}/vae", scaling_factor: 0.18215)'
    else:
        codec = f'codec=TinyVae(weights: "{folder}/taesd")'
    types = ["--set", "dtype=(model: BF16, text: BF16, codec: BF16)"] if dtype == "bf16" else []
    return [binary, "sample", RECIPE, "--prompt", CAPTION, "--overwrite", "--out", out, "--set", codec, *types,
            "--set", f'model.weights=Diffusers("{pipe}")', "--set", f'text=OpenClipH(weights: "{pipe}/text_encoder")']


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary", type=pathlib.Path)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    binary, folder = options.binary.resolve(), options.folder.resolve()
    folder.mkdir(exist_ok=True)
    if not (folder / "single").exists():
        make(binary, folder)
    present = []
    for library, packages in PACKAGES.items():
        missing = [name for name in packages if importlib.util.find_spec(name) is None]
        if missing:
            print(f"{library} is absent: pip install {' '.join(missing)}", file=sys.stderr)
        else:
            present.append(library)
    if "openvino" in present and not (folder / "openvino").exists():
        make_openvino(folder)
    figures = {}
    for turn in range(options.turns + 1):
        for codec in ["kl", "tiny"]:
            out = folder / "picture.png"
            sides = {f"ours {dtype}": ours(binary, folder, codec, out, dtype) for dtype in ["f32", "bf16"]}
            for library in present:
                sides[library] = [sys.executable, __file__, "--peer", library, folder, codec, options.threads, out]
            for name, command in sides.items():
                if options.only not in f"{codec} {name}":
                    continue
                out.unlink(missing_ok=True)
                result = run(command, options.threads)
                assert out.exists(), f"{name} wrote no picture"
                # The first turn fetches the files from the disk.
                if turn:
                    figures.setdefault(f"{codec} {name}", []).append(result)
    print("| autoencoder, program | seconds, median | of each turn | peak MB |\n|---|---:|---|---:|")
    for name, turns in figures.items():
        seconds = sorted(seconds for seconds, _ in turns)
        each = ", ".join(f"{seconds:.2f}" for seconds, _ in turns)
        print(f"| {name} | {seconds[len(seconds) // 2]:.2f} | {each} | {max(peak for _, peak in turns):.0f} |")
    (folder / "cold.json").write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--peer"]:
        library, folder, codec, threads, out = sys.argv[2], pathlib.Path(sys.argv[3]), sys.argv[4], int(sys.argv[5]), sys.argv[6]
        if library.startswith("torch"):
            of_torch(folder, codec, threads, out, "bfloat16" if library == "torch-bf16" else "float32")
        elif library.startswith("openvino"):
            of_openvino(folder, codec, threads, out, "bf16" if library == "openvino-bf16" else "f32")
        else:
            of_sdcpp(folder, codec, threads, out)
    else:
        main()
