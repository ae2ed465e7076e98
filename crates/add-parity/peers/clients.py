"""Models and LoRAs in and out, by `add` and by the programs that its users have: diffusers, transformers, peft, LyCORIS,
ComfyUI's engine, stable-diffusion.cpp.

    python clients.py ADD FOLDER [--comfy CHECKOUT] [--family sd15 sd21 sdxl] [--only PART ...]

ADD is the binary, FOLDER takes models of full size (9 GB of a family, 25 of SDXL) and results. It needs torch, diffusers,
transformers, peft, lycoris-lora, safetensors and Pillow; cyllama, which has stable-diffusion.cpp inside, is used where it is
installed; CHECKOUT is a repository with ComfyUI's engine as `ldm_patched`, such as Fooocus. Nothing is downloaded: the weights
are drawn. Each picture is made from the same noise by both sides and compared value by value; both compute in single precision
from the same half-precision files. Prints a Markdown table and adds its rows to FOLDER/clients.json, in place of earlier ones on the same.
"""

import argparse
import ctypes
import gc
import importlib.metadata
import importlib.util
import json
import multiprocessing
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

PROMPT, SIDE, STEPS = "a red fox in the snow", 64, 2
# Words of one token each, 160 of them.
LONG = " ".join(["a", "red", "fox", "and", "two", "small", "dogs", "run"] * 20)
RECIPES = {"sd15": "configs/sd15.ron", "sd21": "configs/sd21.ron", "sdxl": "configs/sdxl.ron"}
ROOT = pathlib.Path(__file__).resolve().parents[3]
# Where rows are kept; main() says it.
KEPT = {"path": None, "versions": {}}


def row(what, peer, result):
    """Prints a row, and keeps it in place of an earlier one on the same."""
    print(f"| {what} | {peer} | {result} |", flush=True)
    path = KEPT["path"]
    rows = json.loads(path.read_text())["rows"] if path.exists() else []
    rows = [kept for kept in rows if kept[:2] != [what, peer]] + [[what, peer, result]]
    path.write_text(json.dumps({"versions": KEPT["versions"], "rows": rows}, indent=1) + "\n")


def add(binary, *arguments):
    """Runs `add`, which must succeed."""
    done = subprocess.run([binary, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{arguments}: {done.stderr[-2000:]}")
    return done.stdout + done.stderr


def unet(family):
    from diffusers import UNet2DConditionModel

    if family == "sdxl":
        return UNet2DConditionModel(
            sample_size=128, block_out_channels=(320, 640, 1280), cross_attention_dim=2048, use_linear_projection=True,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=[1, 2, 10], attention_head_dim=[5, 10, 20], addition_embed_type="text_time",
            addition_time_embed_dim=256, projection_class_embeddings_input_dim=2816)
    width, heads = (768, 8) if family == "sd15" else (1024, [5, 10, 20, 20])
    return UNet2DConditionModel(
        sample_size=64, cross_attention_dim=width, attention_head_dim=heads, use_linear_projection=family == "sd21")


def text(width, layers, heads, act, projection=None):
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        hidden_size=width, intermediate_size=4 * width, num_hidden_layers=layers, num_attention_heads=heads, hidden_act=act,
        projection_dim=projection or 512, bos_token_id=0, eos_token_id=2)
    return (CLIPTextModelWithProjection if projection else CLIPTextModel)(config)


@torch.no_grad()
def make(family, folder):
    """A pipeline of full size with drawn weights in half precision, as diffusers and transformers of today save it."""
    from diffusers import AutoencoderKL

    torch.manual_seed(3)
    vae = AutoencoderKL(
        block_out_channels=(128, 256, 512, 512), down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4, layers_per_block=2, latent_channels=4, sample_size=512,
        scaling_factor=0.13025 if family == "sdxl" else 0.18215)
    # Pictures that fill the range and are not clipped: a difference would be hidden there.
    latents = torch.randn(1, 4, 8, 8)
    spread = vae.decode(latents / vae.config.scaling_factor).sample.std()
    vae.decoder.conv_out.weight *= 0.35 / spread
    vae.half().save_pretrained(folder / "vae")
    del vae
    network = unet(family)
    # Its prediction is about as large as noise.
    width = network.config.cross_attention_dim
    extra = {"text_embeds": torch.randn(1, 1280), "time_ids": torch.zeros(1, 6)} if family == "sdxl" else None
    out = network(latents, 500, torch.randn(1, 77, width), added_cond_kwargs=extra).sample
    network.conv_out.weight *= 1 / out.std()
    network.half().save_pretrained(folder / "unet")
    del network
    towers = {"sd15": [(768, 12, 12, "quick_gelu")], "sd21": [(1024, 23, 16, "gelu")],
              "sdxl": [(768, 12, 12, "quick_gelu"), (1280, 32, 20, "gelu", 1280)]}[family]
    for i, tower in enumerate(towers):
        text(*tower).half().save_pretrained(folder / ("text_encoder" if i == 0 else "text_encoder_2"))


def pipeline(family, folder, exported):
    """diffusers' pipeline of the folder, with tokenizers and scheduler of `add`'s export."""
    import diffusers
    from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

    parts = {
        "unet": diffusers.UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=torch.float32),
        "vae": diffusers.AutoencoderKL.from_pretrained(folder / "vae", torch_dtype=torch.float32),
        "text_encoder": CLIPTextModel.from_pretrained(folder / "text_encoder", dtype=torch.float32),
        "tokenizer": CLIPTokenizer.from_pretrained(exported / "tokenizer"),
        "scheduler": diffusers.DPMSolverMultistepScheduler.from_pretrained(exported / "scheduler"),
    }
    if family == "sdxl":
        parts["text_encoder_2"] = CLIPTextModelWithProjection.from_pretrained(folder / "text_encoder_2", dtype=torch.float32)
        parts["tokenizer_2"] = CLIPTokenizer.from_pretrained(exported / "tokenizer_2")
        made = diffusers.StableDiffusionXLPipeline(**parts)
    else:
        made = diffusers.StableDiffusionPipeline(**parts, safety_checker=None, feature_extractor=None,
                                                 requires_safety_checker=False)
    made.set_progress_bar_config(disable=True)
    return made


@torch.no_grad()
def theirs(pipe, noise, steps=STEPS):
    image = pipe(PROMPT, latents=noise.clone(), num_inference_steps=steps, guidance_scale=1.0, height=SIDE, width=SIDE,
                 output_type="np").images[0]
    return np.round(image * 255).astype(np.int64)


def windows(pipe):
    """The states of a prompt of several windows: 75 tokens each between start and end, encoded one by one and put together."""
    tokens = pipe.tokenizer(LONG, add_special_tokens=False, truncation=False, verbose=False).input_ids
    start, end = pipe.tokenizer.bos_token_id, pipe.tokenizer.eos_token_id
    each = [tokens[i:i + 75] for i in range(0, len(tokens), 75)]
    padded = torch.tensor([[start, *window, *[end] * (76 - len(window))] for window in each])
    return torch.cat([pipe.text_encoder(window[None])[0] for window in padded], dim=1), len(each)


@torch.no_grad()
def long_prompt(pipe, noise):
    """diffusers' picture of a long prompt, whose states it takes as they are."""
    states, count = windows(pipe)
    image = pipe(prompt_embeds=states, latents=noise.clone(), num_inference_steps=STEPS, guidance_scale=1.0, height=SIDE,
                 width=SIDE, output_type="np").images[0]
    return f"`--long-prompt Chunks`, {count} windows", np.round(image * 255).astype(np.int64)


def ours(binary, folder, family, noise, *more, steps=STEPS):
    shutil.rmtree(folder / "made", ignore_errors=True)
    save_file({"latents": noise}, folder / "noise.safetensors")
    prompt = [] if "--prompt" in more else ["--prompt", PROMPT]
    add(binary, "sample", RECIPES[family], *prompt, "--steps", steps, "--guidance", 1, "--set", f"data=Off(size: {SIDE})",
        "--latents", folder / "noise.safetensors", "--out", folder / "made", *more)
    picture = next((folder / "made").glob("*.png"))
    return np.asarray(Image.open(picture).convert("RGB")).astype(np.int64)


def compared(a, b, plain=None):
    difference = np.abs(a - b)
    said = f"{difference.max()} / {difference.mean():.4f}"
    if plain is not None:
        said += f"; the LoRA changes {np.abs(b - plain).mean():.1f}"
    return said


def layers(network, ends):
    """Linear and convolution layers by name, but those of SDXL's sizes: diffusers tears their names apart and passes them over."""
    kinds = (torch.nn.Linear, torch.nn.Conv2d)
    return {n: m.weight.shape for n, m in network.named_modules()
            if isinstance(m, kinds) and any(n.endswith(e) for e in ends) and not n.startswith("add_embedding")}


def factors(shape, rank):
    down = torch.randn(rank, *shape[1:]) * (1 / shape[1:].numel()) ** 0.5
    up = torch.randn(shape[0], rank, *([1] * (len(shape) - 2))) * 0.15
    return down.half(), up.half()


ATTENTION = ["to_q", "to_k", "to_v", "to_out.0", "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2"]
TEXT = ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"]


def kohya(pipe, path, ends=ATTENTION, with_text=True, rank=4, alpha=2.0):
    """A file as kohya's tools write it; LCM-LoRA has these names too, without text encoders and with every layer."""
    all_of = {}
    parts = [("lora_unet", pipe.unet, ends)]
    if with_text:
        two = getattr(pipe, "text_encoder_2", None)
        parts += [("lora_te1" if two else "lora_te", pipe.text_encoder, TEXT)] + ([("lora_te2", two, TEXT)] if two else [])
    for prefix, network, wanted in parts:
        for name, shape in layers(network, wanted).items():
            # transformers 5 leaves out what stands in front in kohya's files.
            name = name if prefix == "lora_unet" or name.startswith("text_model.") else f"text_model.{name}"
            key = f"{prefix}_{name.replace('.', '_')}"
            down, up = factors(shape, rank)
            all_of |= {f"{key}.lora_down.weight": down, f"{key}.lora_up.weight": up, f"{key}.alpha": torch.tensor(alpha)}
    save_file(all_of, path)


def with_lora(pipe, noise, path, scale=0.7):
    """diffusers' picture with the file, and what tells `add` to use it."""
    pipe.load_lora_weights(path.parent, weight_name=path.name, adapter_name="x")
    pipe.set_adapters(["x"], [scale])
    expected = theirs(pipe, noise)
    pipe.unload_lora_weights()
    return ["--lora", f"{path}:{scale}"], expected


def peft_file(pipe, path):
    """A file as diffusers and peft save it, its alpha in the metadata alone."""
    from diffusers.training_utils import _collate_lora_metadata
    from peft import LoraConfig, get_peft_model_state_dict

    # transformers 5.24 takes no adapter of peft 0.21: the text encoders' are in kohya's file.
    pipe.unet.add_adapter(LoraConfig(r=4, lora_alpha=8, target_modules=ATTENTION[:4], init_lora_weights=False))
    state = {k: v.half().contiguous() for k, v in get_peft_model_state_dict(pipe.unet).items()}
    metadata = _collate_lora_metadata({"unet": pipe.unet})
    pipe.save_lora_weights(path.parent, state, weight_name=path.name, **metadata)
    pipe.unet.delete_adapters("default")


@torch.no_grad()
def lycoris_files(folder, noise, pipe):
    """LoHa, LoKr and convolutions in Tucker's form by LyCORIS itself, and its pictures."""
    from lycoris import LycorisNetwork, create_lycoris

    LycorisNetwork.apply_preset({"target_module": ["Transformer2DModel", "ResnetBlock2D"]})
    for algo in ["loha", "lokr", "locon"]:
        torch.manual_seed(5)
        net = create_lycoris(pipe.unet, 1.0, linear_dim=4, linear_alpha=2, conv_dim=4, conv_alpha=1, algo=algo, use_tucker=True,
                             factor=8)
        # Its modules are its own from here on, and the U-Net computes with them.
        net.apply_to()
        state = net.state_dict()
        for name, value in state.items():
            if not name.endswith("alpha"):
                value.copy_((torch.randn_like(value) * (0.3 if algo == "loha" else 0.1)).half().float())
        path = folder / f"{algo}.safetensors"
        save_file({n: v.half().contiguous() for n, v in state.items()}, path)
        net.load_state_dict(state)
        expected = theirs(pipe, noise)
        net.restore()
        yield f"{algo}, {len(net.loras)} layers, Tucker", "LyCORIS", ["--lora", path], expected


def peers_side(family, folder, noise, parts):
    """What the peers make: each with its name, the peer's, what tells `add` to make the same, and the picture."""
    pipe = pipeline(family, folder / "pipe", folder / "export")
    plain = theirs(pipe, noise)
    cases = []
    if "whole" in parts:
        cases.append((f"a pipeline of transformers 5, whole; spread of the picture {plain.std():.0f}", "diffusers", [], plain))
    if {"lora", "merge", "again"} & set(parts):
        torch.manual_seed(11)
        kohya(pipe, folder / "kohya-in.safetensors")
    if "lora" in parts:
        cases.append(("kohya-like, text encoders too", "diffusers", *with_lora(pipe, noise, folder / "kohya-in.safetensors")))
        kohya(pipe, folder / "lcm-in.safetensors", [""], False, 8, 4.0)
        every = "every layer but those of sizes" if family == "sdxl" else "every layer"
        cases.append((f"LCM-LoRA-like, {every}", "diffusers", *with_lora(pipe, noise, folder / "lcm-in.safetensors")))
        peft_file(pipe, folder / "peft-in.safetensors")
        cases.append(("peft, alpha in the metadata", "diffusers", *with_lora(pipe, noise, folder / "peft-in.safetensors")))
    if "long" in parts and family == "sd15":
        what, expected = long_prompt(pipe, noise)
        cases.append((what, "diffusers", ["--prompt", LONG, "--long-prompt", "Chunks"], expected))
    if "lycoris" in parts and family == "sd15":
        cases += lycoris_files(folder, noise, pipe)
    return plain, cases


def again(binary, folder, family):
    """A picture with guidance, a LoRA and a size, made again from itself."""
    model = ["--weights", folder / "pipe", "--lora", f"{folder}/kohya-in.safetensors:0.7"]
    first, second = folder / "first.png", folder / "second.png"
    add(binary, "sample", RECIPES[family], "--prompt", PROMPT, "--negative", "blurred", "--guidance", 4, "--seed", 2**53 + 1,
        "--steps", STEPS, "--size", f"{SIDE}x{2 * SIDE}", "--set", f"data=Off(size: {SIDE})", "--overwrite", "--out", first, *model)
    # Places outside of the recipe's folder are not in a picture, which gives their names alone.
    add(binary, "sample", "--from", first, "--overwrite", "--out", second, *model)
    same = first.read_bytes() == second.read_bytes()
    row(f"{family}: `sample --from` its picture with a LoRA, guidance 4, {SIDE}x{2 * SIDE}", "add",
        "the same bytes" if same else "OTHER BYTES")


def v_student(binary, folder, family, comfy):
    """A model of v-prediction and zero terminal SNR as a single file, and what clients take it for."""
    import diffusers

    backbone = {"sd15": "Sd15", "sd21": "Sd21", "sdxl": "Sdxl"}[family]
    out = folder / "v"
    shutil.rmtree(out, ignore_errors=True)
    kept = {"sd15": "text_encoder", "sd21": "text_encoder", "sdxl": ""}[family]
    encoder = {"sd15": "ClipL", "sd21": "OpenClipH", "sdxl": "ClipLBigG"}[family]
    factor = 0.13025 if family == "sdxl" else 0.18215
    sets = [f"model.weights=Diffusers(\"{folder}/pipe\")", f"model.backbone={backbone}(prediction: V)",
            "model.schedule=ZeroTerminalSnr(inner: ScaledLinear())", f"text={encoder}(weights: \"{folder}/pipe/{kept}\")",
            f"codec=KlVae(weights: \"{folder}/pipe/vae\", scaling_factor: {factor})", "sampling.sampler=Ddim()"]
    sets = [part for stated in sets for part in ("--set", stated)]
    add(binary, "export", RECIPES[family], out, "--format", "ldm", *sets)
    configs = folder / "v-configs"
    if not configs.exists():
        add(binary, "export", RECIPES[family], configs, "--format", "diffusers", *sets)
        for weights in configs.glob("*/*.safetensors"):
            weights.unlink()
    file, config = next(out.glob("*.safetensors")), next(out.glob("*.yaml"))
    leaks = [str(folder) in text for text in (config.read_text(), json.dumps(header(file)))]
    row(f"{family}: V student as `ldm`, local paths in it", "-", sum(leaks))
    kind = diffusers.StableDiffusionXLPipeline if family == "sdxl" else diffusers.StableDiffusionPipeline
    more = {} if family == "sdxl" else {"safety_checker": None}
    # Of an original_config= diffusers reads no prediction.
    read = kind.from_single_file(str(file), config=str(configs), local_files_only=True, torch_dtype=torch.float16, **more)
    stated = read.scheduler.config
    row(f"{family}: V student as `ldm`, config= its `diffusers` export", "diffusers",
        f"{stated.prediction_type}, rescale_betas_zero_snr {stated.rescale_betas_zero_snr}")
    del read
    gc.collect()
    if comfy:
        apart(family, "ComfyUI's engine", "--engine", comfy, file, config)
    if importlib.util.find_spec("cyllama"):
        apart(family, "stable-diffusion.cpp", "--sdcpp", file)
        apart(family, "stable-diffusion.cpp", "--sdcpp", file, "V")


def apart(family, peer, *arguments):
    """Rows of a client in a process of its own, for its memory and its crashes."""
    said = subprocess.run([sys.executable, __file__, *map(str, arguments)], capture_output=True, text=True)
    for line in said.stdout.splitlines():
        if line.startswith("ROW "):
            what, result = line[4:].split("\t")
            row(f"{family}: V student as `ldm`, {what}", peer, result)
    if said.returncode:
        row(f"{family}: V student as `ldm`", peer, f"failed: {(said.stderr.strip().splitlines() or [said.returncode])[-1]}")


def header(path):
    data = path.open("rb")
    return json.loads(data.read(int.from_bytes(data.read(8), "little")))


def on_the_processor(checkout):
    """ComfyUI's engine of a checkout, which looks for its options when it is imported."""
    sys.path.insert(0, checkout)
    from ldm_patched.modules import args_parser

    args_parser.args.always_cpu = -1
    # Its engine hands an array of NumPy to torch, which takes none any more.
    cumprod = torch.cumprod
    torch.cumprod = lambda values, **more: cumprod(torch.as_tensor(values), **more)


def engine(checkout, file, config):
    """In a process of its own: what ComfyUI's engine takes a single file for."""
    on_the_processor(checkout)
    import ldm_patched.modules.sd as sd

    guessed = sd.load_checkpoint_guess_config(file, output_vae=False, output_clip=False)[0]
    print(f"ROW guessed\t{guessed.model.model_type.name}")
    del guessed
    told = sd.load_checkpoint(config_path=config, ckpt_path=file, output_vae=False, output_clip=False)[0]
    print(f"ROW with its configuration\t{told.model.model_type.name}")


# What a client's library says goes to the file that the environment names: a callback in Python would wait for the interpreter,
# which waits for the library's threads.
LOGGER = """
#include <stdio.h>
#include <stdlib.h>
void told(int level, const char *text, void *data) {
    FILE *log = fopen(getenv("SDCPP_LOG"), "a");
    if (log) { fputs(text, log); fclose(log); }
}
"""


def sdcpp(file, prediction=None):
    """In a process of its own: what stable-diffusion.cpp takes a single file for, by itself or when it is told."""
    from cyllama.sd import stable_diffusion as sd

    with tempfile.TemporaryDirectory() as folder:
        log, library = pathlib.Path(folder, "log"), pathlib.Path(folder, "logger.so")
        os.environ["SDCPP_LOG"] = str(log)
        source = library.with_suffix(".c")
        source.write_text(LOGGER)
        subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
        ctypes.CDLL(sd.__file__).sd_set_log_callback(ctypes.CDLL(str(library)).told, None)
        params = sd.SDContextParams()
        params.model_path, params.vae_decode_only = file, True
        if prediction:
            params.prediction = sd.Prediction[prediction]
        context = sd.SDContext(params)
        said = log.read_text(errors="replace")
        context.close()
    found = [re.search(r"Version: (.*)", said), re.search(r"running in (.*?) mode", said)]
    what = f"told `--prediction {prediction.lower()}`" if prediction else "by itself"
    print(f"\nROW {what}\t{', '.join(m.group(1).strip() if m else 'nothing said' for m in found)}", flush=True)


def lora_keys(checkout, kind, file):
    """In a process of its own: how many of a LoRA's tensors ComfyUI's engine loads into the U-Net of `kind`."""
    on_the_processor(checkout)
    from ldm_patched.modules import lora, model_detection, utils

    state = load_file(kind)
    config = model_detection.model_config_from_unet(state, "model.diffusion_model.", torch.float16)
    # The engine's own map, made of a model's names alone.
    names = {n.replace("model.diffusion_model.", "diffusion_model."): None for n in state if n.startswith("model.diffusion_model.")}
    model = type("Model", (), {"state_dict": lambda self: names, "model_config": config})()
    keys = lora.model_lora_keys_unet(model, {})
    tensors, loaded = load_file(file), set()
    for key in keys:
        loaded |= {n for n in tensors if n.rsplit(".", 2)[0] == key or n.rsplit(".", 1)[0] == key}
    patches = lora.load_lora(tensors, keys)
    patches = patches[0] if isinstance(patches, tuple) else patches
    print(f"ROW {len(loaded)} of {len(tensors)} tensors, {len(patches)} layers")


def lora_out(binary, folder, comfy):
    """A run of adapters on SD1.5: its LoRA into diffusers and into ComfyUI's map of names."""
    import diffusers

    run = folder / "run"
    shutil.rmtree(run, ignore_errors=True)
    recipe = folder / "lora.ron"
    recipe.write_text(f"""(
    name: "fox-lora", data: Emoji(size: {SIDE}), codec: KlVae(weights: "{folder}/pipe/vae", scaling_factor: 0.18215),
    text: ClipL(weights: "{folder}/pipe/text_encoder"),
    model: (backbone: Sd15(), schedule: ScaledLinear(), weights: Diffusers("{folder}/pipe"), adapter: Lora(rank: 4, alpha: 8, targets: [])),
    batch: 1, objective: Consistency(target: Student, guidance: Fixed(7.5), optimizer: (lr: 1e-2, warm_up: 0), ema_half_life: 1), run: (steps: 2),
    sampling: (sampler: DpmSolver2M(), steps: 2),
)""")
    add(binary, "train", recipe, "--out", run)
    merged = load_file(run / "model.safetensors")
    for style in ["kohya", "peft"]:
        out = folder / style
        shutil.rmtree(out, ignore_errors=True)
        add(binary, "export", run, out, "--format", style)
        file = next(out.glob("*.safetensors"))
        network = diffusers.UNet2DConditionModel.from_pretrained(folder / "pipe/unet", torch_dtype=torch.float32)
        pipe = diffusers.StableDiffusionPipeline(
            vae=None, text_encoder=None, tokenizer=None, unet=network, scheduler=None, safety_checker=None,
            feature_extractor=None, requires_safety_checker=False)
        pipe.load_lora_weights(out, weight_name=file.name)
        pipe.fuse_lora()
        pipe.unload_lora_weights()
        worst = max(float((value - merged[f"denoiser.unet.{name}"].float()).abs().max() / value.abs().max())
                    for name, value in network.state_dict().items())
        row(f"LoRA of a run as {style}, {len(header(file)) - 1} tensors: fused weights against add's merged ones, largest relative difference",
            "diffusers", f"{worst:.1e}")
        if comfy:
            single = next((folder / "v").glob("*.safetensors"))
            said = subprocess.run([sys.executable, __file__, "--keys", str(comfy), str(single), str(file)], capture_output=True, text=True)
            found = [line[4:] for line in said.stdout.splitlines() if line.startswith("ROW ")]
            row(f"LoRA of a run as {style}", "ComfyUI's engine", found[0] if found else said.stderr.strip().splitlines()[-1:])


def merged(binary, folder, family, noise, plain):
    """`add merge` against `--lora`."""
    out = folder / "merged"
    shutil.rmtree(out, ignore_errors=True)
    add(binary, "merge", folder / "pipe", "--lora", f"{folder}/kohya-in.safetensors:0.7", "--out", out)
    a = ours(binary, folder, family, noise, "--weights", out)
    b = ours(binary, folder, family, noise, "--weights", folder / "pipe", "--lora", f"{folder}/kohya-in.safetensors:0.7")
    row(f"{family}: `add merge` into half precision, against `--lora`", "add", compared(a, b, plain))


def exported(binary, family, folder):
    """`add`'s export, of which the peers take tokenizers and scheduler."""
    out = folder / "export"
    if out.exists():
        return
    places = {"sd15": f'ClipL(weights: "{folder}/pipe/text_encoder")', "sd21": f'OpenClipH(weights: "{folder}/pipe/text_encoder")',
              "sdxl": f'ClipLBigG(weights: "{folder}/pipe")'}
    factor = 0.13025 if family == "sdxl" else 0.18215
    add(binary, "export", RECIPES[family], out, "--format", "diffusers", "--set", f'model.weights=Diffusers("{folder}/pipe")',
        "--set", f"text={places[family]}", "--set", f'codec=KlVae(weights: "{folder}/pipe/vae", scaling_factor: {factor})')
    for weights in out.glob("*/*.safetensors"):
        weights.unlink()


def main():
    if sys.argv[1:2] == ["--engine"]:
        return engine(*sys.argv[2:5])
    if sys.argv[1:2] == ["--keys"]:
        return lora_keys(*sys.argv[2:5])
    if sys.argv[1:2] == ["--sdcpp"]:
        return sdcpp(*sys.argv[2:4])
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("add")
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--comfy", type=pathlib.Path)
    parser.add_argument("--family", nargs="*", default=["sd15"], choices=RECIPES)
    parser.add_argument("--only", nargs="*", default=["v", "out", "whole", "lora", "long", "lycoris", "merge", "again"])
    options = parser.parse_args()
    binary = pathlib.Path(options.add).resolve()
    names = ["torch", "diffusers", "transformers", "peft", "lycoris-lora", "safetensors", "cyllama"]
    versions = {name: importlib.metadata.version(name) for name in names if importlib.util.find_spec(name.split("-")[0])}
    KEPT.update(path=options.folder / "clients.json", versions=versions)
    print(", ".join(f"{name} {version}" for name, version in versions.items()))
    print("| what | peer | largest / mean difference of 255 |\n|---|---|---|")
    for family in options.family:
        folder = (options.folder / family).resolve()
        if not (folder / "pipe/unet").exists():
            make(family, folder / "pipe")
            gc.collect()
        noise = torch.randn(1, 4, SIDE // 8, SIDE // 8, generator=torch.Generator().manual_seed(7))
        exported(binary, family, folder)
        if "v" in options.only:
            v_student(binary, folder, family, options.comfy)
        if "out" in options.only and family == "sd15":
            lora_out(binary, folder, options.comfy)
        if {"whole", "lora", "long", "lycoris", "merge", "again"} & set(options.only):
            # Both sides hold SDXL in single precision, one after the other: the peers' memory ends with their process.
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                plain, cases = pool.submit(peers_side, family, folder, noise, options.only).result()
            for what, peer, arguments, expected in cases:
                made = ours(binary, folder, family, noise, "--weights", folder / "pipe", *arguments)
                row(f"{family}: {what}", peer, compared(made, expected, plain if "--lora" in arguments else None))
        if "merge" in options.only:
            merged(binary, folder, family, noise, plain)
        if "again" in options.only:
            again(binary, folder, family)


if __name__ == "__main__":
    main()
