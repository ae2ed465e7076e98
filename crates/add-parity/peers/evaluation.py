"""The evaluation's figures by the peers' own code and by `add eval`, on the same two folders of pictures.

    python evaluation.py ADD FOLDER [--dgm-eval CHECKOUT] [--dinov2 CHECKOUT]

ADD is the binary, FOLDER takes pictures, weights and results. It needs torch, torchvision, pytorch-fid, torch-fidelity,
clean-fid, open_clip_torch, transformers, scipy, scikit-learn, safetensors and Pillow; dgm-eval and DINOv2 are checkouts of their repositories. Nothing is
downloaded: pictures and weights come from formulas, the same for all, so the figures say whether two programs compute the
same and nothing about pictures. Prints a Markdown table and writes FOLDER/peers.json.
"""

import argparse
import hashlib
import importlib
import importlib.metadata
import json
import pathlib
import subprocess
import sys

import numpy as np
import torch
from PIL import Image

CLIP = "open_clip_model.safetensors"
GOLDEN, MASK = 0x9E3779B97F4A7C15, (1 << 64) - 1
SEED = 11
# The sides of the two folders' pictures.
SIDES = {"made": (80, 64), "real": (96, 72)}


def stream(name, count, seed):
    """`count` numbers in [-1, 1) of the stream of a name: SplitMix64 from the name's FNV-1a hash."""
    state = 0xCBF29CE484222325
    for byte in name.encode():
        state = ((state ^ byte) * 0x100000001B3) & MASK
    state = (state + seed * GOLDEN) & MASK
    z = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(GOLDEN) + np.uint64(state)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((z ^ (z >> np.uint64(31))) >> np.uint64(40)).astype(np.float64) / 2.0**23 - 1.0


def tensor(name, shape, offset, scale):
    values = offset + scale * stream(name, int(np.prod(shape)), SEED)
    return torch.from_numpy(values.astype(np.float32).reshape(shape))


def fill(state, rule):
    """A state dict with every floating tensor by the formula."""
    return {name: tensor(name, tuple(value.shape), *rule(name, tuple(value.shape))) if value.is_floating_point() else value
            for name, value in state.items()}


def inception_rule(name, shape):
    if name.endswith("running_var"):
        return 1.0, 0.5
    if name.endswith("bn.weight"):
        return 1.0, 0.2
    if len(shape) >= 2:
        return 0.0, (6.0 / np.prod(shape[1:])) ** 0.5
    return 0.0, 0.1


def vit_rule(name, shape):
    if name.endswith(".gamma"):
        return 0.75, 0.25
    if any(part in name for part in ("pos_embed", "cls_token", "mask_token")):
        return 0.0, 0.5 * 3**0.5
    if len(shape) >= 2:
        return 0.0, (3.0 / np.prod(shape[1:])) ** 0.5
    return (1.0, 0.2) if name.endswith("weight") else (0.0, 0.1)


def pictures(folder, kind, count):
    """Waves of integer arithmetic whose frequencies differ from picture to picture."""
    folder.mkdir(parents=True, exist_ok=True)
    width, height = SIDES[kind]
    y, x = np.mgrid[0:height, 0:width].astype(np.int64)
    for i in range(count):
        p = ((stream(f"{kind}.{i}", 12, SEED) + 1.0) * 8.0).astype(np.int64)
        planes = [(p[4 * c] * x + p[4 * c + 1] * y + p[4 * c + 2] * 16 + (p[4 * c + 3] * x * y >> 6)) & 255 for c in range(3)]
        Image.fromarray(np.stack(planes, -1).astype(np.uint8)).save(folder / f"{i:03}.png")


def files(folder):
    return sorted(folder.glob("*.png"))


def by_pytorch_fid(weights, made, real):
    from pytorch_fid import fid_score, inception
    inception.load_state_dict_from_url = lambda *_, **__: torch.load(weights)
    model = inception.InceptionV3([3]).eval()
    sets = [fid_score.get_activations(files(folder), model, 16, 2048, "cpu", 0) for folder in (made, real)]
    return model, sets, fid_score.calculate_frechet_distance(*moments(sets[0]), *moments(sets[1]))


def moments(features):
    return features.mean(0), np.cov(features, rowvar=False)


def by_torch_fidelity(weights, made, real):
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    from torch_fidelity.metric_fid import fid_statistics_to_metric
    from torch_fidelity import metric_kid
    net = FeatureExtractorInceptionV3("inception", ["2048"], feature_extractor_weights_path=str(weights)).eval()
    sets = []
    for folder in (made, real):
        batch = torch.stack([torch.from_numpy(np.asarray(Image.open(f))).permute(2, 0, 1) for f in files(folder)])
        sets.append(np.concatenate([net(part)[0].numpy() for part in batch.split(16)]))
    stats = [dict(zip(("mu", "sigma"), moments(s.astype(np.float64)))) for s in sets]
    fid = fid_statistics_to_metric(*stats, False)["frechet_inception_distance"]
    return fid, metric_kid.kernel_mmd(*(s.astype(np.float64) for s in sets))


def by_clean_fid(model, made, real):
    from cleanfid import fid
    net = torch.nn.Sequential(*model.blocks)
    extract = lambda x: net((x - 128) / 128).flatten(1)
    sets = [fid.get_folder_features(str(f), extract, num_workers=0, batch_size=16, device=torch.device("cpu"), mode="clean",
                                    verbose=False) for f in (made, real)]
    double = [s.astype(np.float64) for s in sets]
    return fid.fid_from_feats(*double), fid.kernel_distance(*double, num_subsets=1)


def by_dgm_eval(checkout, dinov2, weights, inception_sets, made, real):
    sys.path.insert(0, str(checkout))
    import sklearn.metrics
    # dgm-eval asks for eight threads; the numbers are the same.
    from dgm_eval.metrics import fd, prdc
    pairwise = sklearn.metrics.pairwise_distances
    sklearn.metrics.pairwise_distances = lambda *a, n_jobs=1, **k: pairwise(*a, **k)
    real_set, made_set = inception_sets[1].astype(np.float64), inception_sets[0].astype(np.float64)
    three, five = (prdc.compute_prdc(real_set, made_set, nearest_k=k) for k in (3, 5))
    figures = {"precision": three["precision"], "recall": three["recall"], "density": five["density"],
               "coverage": five["coverage"]}
    if dinov2:
        sys.path.insert(0, str(dinov2))
        from dinov2.models.vision_transformer import vit_small
        import torchvision.transforms as T
        from safetensors.torch import save_file
        net = vit_small(patch_size=14, img_size=518, init_values=1.0, block_chunks=0).eval()
        state = fill(net.state_dict(), vit_rule)
        net.load_state_dict(state)
        save_file(state, weights)
        transform = T.Compose([T.Resize((224, 224), T.InterpolationMode.BICUBIC), T.ToTensor(),
                               T.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))])
        sets = []
        for folder in (made, real):
            batch = torch.stack([transform(Image.open(f).convert("RGB")) for f in files(folder)])
            sets.append(np.concatenate([net(part).numpy() for part in batch.split(16)]).astype(np.float64))
        figures["fd-dinov2"] = fd.compute_FD_with_reps(*sets)
    return figures


def by_open_clip(weights, made):
    """The mean cosine under ViT-g/14, 1.4 G values by the formula."""
    import open_clip
    from safetensors.torch import save_file
    net, _, transform = open_clip.create_model_and_transforms("ViT-g-14", pretrained=None)
    net.eval()
    for name, value in net.state_dict().items():
        if value.is_floating_point() and name != "logit_scale":
            value.copy_(tensor(name, tuple(value.shape), *clip_rule(name, tuple(value.shape))))
    save_file(net.state_dict(), weights)
    texts = net.encode_text(open_clip.get_tokenizer("ViT-g-14")(captions(len(files(made)))), normalize=True)
    images = torch.cat([net.encode_image(transform(Image.open(f)).unsqueeze(0), normalize=True) for f in files(made)])
    return (images.double() * texts.double()).sum(1).mean().item()


def by_transformers(folder, made):
    """The mean cosine under OpenAI's ViT-B/32, in transformers' layout."""
    from transformers import CLIPConfig, CLIPModel
    import open_clip
    net = CLIPModel(CLIPConfig(projection_dim=512)).eval()
    state = net.state_dict()
    net.load_state_dict({name: tensor(name, tuple(value.shape), *clip_rule(name, tuple(value.shape)))
                         if value.is_floating_point() and name != "logit_scale" else value for name, value in state.items()})
    net.save_pretrained(folder)
    # OpenAI's tokenizer fills captions up with the end token, open_clip's with zeros; the pooled state is over by then.
    ids = open_clip.get_tokenizer("ViT-B-32")(captions(len(files(made))))
    texts = net.text_projection(net.text_model(ids).pooler_output)
    # transformers 5 resizes with torchvision, 5e-4 from the Pillow that OpenAI's and open_clip's programs resize with.
    transform = open_clip.create_model_and_transforms("ViT-B-32", pretrained=None)[2]
    pixels = torch.stack([transform(Image.open(f)) for f in files(made)])
    images = net.visual_projection(net.vision_model(pixels).pooler_output)
    return torch.nn.functional.cosine_similarity(images.double(), texts.double()).mean().item()


def clip_rule(name, shape):
    if "embedding" in name and "patch_embedding" not in name:
        return 0.0, 0.5 * 3**0.5
    if name.endswith(("text_projection", "visual.proj")):
        return 0.0, (3.0 / shape[0]) ** 0.5
    if len(shape) >= 2:
        return 0.0, (3.0 / np.prod(shape[1:])) ** 0.5
    return (1.0, 0.2) if name.endswith("weight") else (0.0, 0.1)


def captions(count):
    kinds = ["a photo of {} cats", "{} red hearts!", "Wow!!! {}", "a caf\u00e9 with {} chairs, in the rain"]
    return [kinds[i % len(kinds)].format(i) for i in range(count)]


def ours(add, folder, made, real, metrics):
    out, list_of = folder / "add", folder / "captions.txt"
    list_of.write_text("".join(f"{caption}\n" for caption in captions(len(files(made)))))
    subprocess.run([add, "eval", "--images", made, "--references", real, "--captions", list_of, "--metrics", metrics, "--out", out],
                   check=True, stdout=subprocess.DEVNULL)
    return {row["metric"]: row["value"] for row in json.loads((out / "evaluation.json").read_text())}


def by_peers(args, made, real, weights, dino):
    """Every figure of the peers, with the versions and a hash of the pictures."""
    args.folder.mkdir(parents=True, exist_ok=True)
    pictures(made, "made", args.count)
    pictures(real, "real", args.count)
    torch.set_grad_enabled(False)
    from pytorch_fid import inception
    # The network's own constructor wants the published file; here it is asked for the names and shapes alone.
    inception.load_state_dict_from_url = lambda *_, **__: {}
    load, torch.nn.Module.load_state_dict = torch.nn.Module.load_state_dict, lambda *_, **__: None
    names = inception.fid_inception_v3().state_dict()
    torch.nn.Module.load_state_dict = load
    # The layout of the published file, which is older than PyTorch 1.6.
    torch.save(fill(names, inception_rule), weights, _use_new_zipfile_serialization=False)

    model, sets, fid = by_pytorch_fid(weights, made, real)
    tf1_fid, tf1_kid = by_torch_fidelity(weights, made, real)
    clean_fid, clean_kid = by_clean_fid(model, made, real)
    figures = [("fid-torch", "pytorch-fid", fid), ("fid-tf1", "torch-fidelity", tf1_fid), ("kid-tf1", "torch-fidelity", tf1_kid),
               ("fid-clean", "clean-fid", clean_fid), ("kid-clean", "clean-fid", clean_kid)]
    if args.dgm_eval:
        more = by_dgm_eval(args.dgm_eval, args.dinov2, dino, sets, made, real)
        figures += [("fd-dinov2-s14" if name == "fd-dinov2" else f"{name}-inception-torch", "dgm-eval", value)
                    for name, value in more.items()]
    figures.append(("clip-score-clip-b32", "transformers", by_transformers(args.folder / "clip-b32", made)))
    if args.clip:
        figures.append(("clip-score-clip-g14", "open_clip", by_open_clip(args.folder / CLIP, made)))
    packages = ["torch", "torchvision", "pytorch-fid", "torch-fidelity", "clean-fid", "open_clip_torch", "transformers", "scipy", "numpy", "pillow"]
    return {
        "versions": {package: importlib.metadata.version(package) for package in packages},
        "pictures": hashlib.sha256(b"".join(np.asarray(Image.open(f)).tobytes() for f in files(made) + files(real))).hexdigest(),
        "figures": [(name, library, float(value)) for name, library, value in figures],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("add")
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--dgm-eval", type=pathlib.Path)
    parser.add_argument("--dinov2", type=pathlib.Path)
    parser.add_argument("--clip", action="store_true", help="open_clip's ViT-g/14 too, for which 16 GB of memory are needed")
    parser.add_argument("--count", type=int, default=64, help="pictures of each folder")
    parser.add_argument("--reuse", action="store_true", help="take the peers' figures from an earlier FOLDER/peers.json")
    args = parser.parse_args()
    made, real = args.folder / "made", args.folder / "real"
    weights, dino = args.folder / "inception.pth", args.folder / "dinov2_s14.safetensors"
    result = args.folder / "peers.json"
    if not args.reuse:
        result.write_text(json.dumps(by_peers(args, made, real, weights, dino), indent=2) + "\n")
    peers = json.loads(result.read_text())["figures"]
    network = f'InceptionV3(weights: "{weights}")'
    metrics = [f"{kind}(features: {network}, resize: {resize})" for kind in ("Fid", "Kid") for resize in ("Torch", "Tf1", "Clean")]
    if args.dgm_eval:
        look = f"features: {network}, look: Inception(Torch)"
        metrics += [f"PrecisionRecall({look})", f"DensityCoverage({look})"]
        if args.dinov2:
            metrics.append(f'FdDinoV2(features: DinoV2(weights: "{dino}"))')
    b32 = args.folder / "clip-b32"
    metrics.append(f'ClipScore(images: Clip(weights: "{b32}", model: B32), texts: Clip(weights: "{b32}", model: B32))')
    if args.clip:
        clip = args.folder / CLIP
        metrics.append(f'ClipScore(images: Clip(weights: "{clip}", model: G14), texts: OpenClipG(weights: "{clip}"))')
    found = ours(args.add, args.folder, made, real, f"[{', '.join(metrics)}]")

    print("| figure | by | peer | add | relative difference |\n|---|---|---|---|---|")
    for name, library, value in peers:
        difference = abs(found[name] - value) / max(abs(value), 1e-12)
        print(f"| {name} | {library} | {value:.9g} | {found[name]:.9g} | {difference:.1e} |")


if __name__ == "__main__":
    main()
