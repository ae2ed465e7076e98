"""Seconds and memory of FID on a folder of pictures, by pytorch-fid and by `add eval`, in turns.

    python speed.py ADD FOLDER [--pictures 5000] [--turns 5] [--side 512]

ADD is the binary, FOLDER takes pictures, weights and results. Each turn measures its own share of the pictures in a process
of its own, once by each program, with two threads; then `add eval` measures a few, which tells what memory a picture
costs. Weights are drawn, since none are downloaded. Prints a Markdown table and writes FOLDER/speed.json.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import time

import numpy as np
import torch
from PIL import Image

from evaluation import fill, inception_rule, stream

DIFFERENT = 250


def draw(folder, side):
    """Smooth waves with a little noise, of which a PNG is about as large as of a photograph."""
    folder.mkdir(parents=True, exist_ok=True)
    y, x = np.mgrid[0:side, 0:side] / side
    for i in range(DIFFERENT):
        p = stream(f"speed.{i}", 24, 1) * 9.0
        planes = [np.sin(p[8 * c] * x + p[8 * c + 1] * y + p[8 * c + 2]) * np.cos(p[8 * c + 3] * x * y + p[8 * c + 4])
                  for c in range(3)]
        noise = stream(f"speed.noise.{i}", 3 * side * side, 1).reshape(side, side, 3) * 6.0
        picture = np.stack(planes, -1) * 110.0 + 128.0 + noise
        Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8)).save(folder / f"{i:05}.png")


def link(folder, pictures, count, first):
    """A folder of `count` pictures, each file one of those that were drawn."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        target = folder / f"{i:05}.png"
        if not target.exists():
            os.link(pictures / f"{(first + i) % DIFFERENT:05}.png", target)
    return folder


def names():
    from pytorch_fid import inception
    inception.load_state_dict_from_url = lambda *_, **__: {}
    load, torch.nn.Module.load_state_dict = torch.nn.Module.load_state_dict, lambda *_, **__: None
    found = inception.fid_inception_v3().state_dict()
    torch.nn.Module.load_state_dict = load
    return found


def peer(weights, folder, references):
    """pytorch-fid's own way from a folder to the distance; runs in a process of its own."""
    from pytorch_fid import fid_score, inception
    torch.set_num_threads(2)
    inception.load_state_dict_from_url = lambda *_, **__: torch.load(weights)
    print(fid_score.calculate_fid_given_paths([str(folder), str(references)], 50, "cpu", 2048, 0))


def timed(command):
    """Seconds of a process, its largest memory in MiB, and what it says."""
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ | {"RAYON_NUM_THREADS": "2"})
    said = process.stdout.read().decode()
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, command
    return time.monotonic() - began, usage.ru_maxrss / 1024, said


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("add", type=pathlib.Path)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--pictures", type=int, default=5000)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--side", type=int, default=512)
    args = parser.parse_args()
    weights, references, drawn = args.folder / "inception.pth", args.folder / "references.npz", args.folder / "drawn"
    draw(drawn, args.side)
    if not weights.exists():
        torch.save(fill(names(), inception_rule), weights, _use_new_zipfile_serialization=False)
    metric = f'[Fid(features: InceptionV3(weights: "{weights}"))]'

    def add(images, **more):
        options = [word for name, value in more.items() for word in (f"--{name.replace('_', '-')}", value)]
        out = args.folder / "out"
        seconds, memory, _ = timed([args.add, "eval", "--images", images, "--metrics", metric, "--out", out, *options])
        return seconds, memory, json.loads((out / "evaluation.json").read_text())[0]["value"]

    add(drawn, references=drawn, save_references=references)
    each, rows = args.pictures // args.turns, []
    for turn in range(args.turns):
        images = link(args.folder / f"turn-{turn}", drawn, each, turn * each)
        theirs = timed([sys.executable, __file__, "--peer", weights, images, references])
        ours = add(images, references=references)
        rows.append({"theirs": theirs[0], "ours": ours[0], "their_memory": theirs[1], "our_memory": ours[1],
                     "their_fid": float(theirs[2].split()[-1]), "our_fid": ours[2]})
        print(json.dumps(rows[-1]), file=sys.stderr)
    few = add(drawn, references=references)
    growth = (rows[0]["our_memory"] - few[1]) * 1024 / (each - DIFFERENT)
    result = {"pictures": args.pictures, "side": args.side, "turns": rows, "few": DIFFERENT, "few_memory": few[1],
              "kib_a_picture": growth}
    (args.folder / "speed.json").write_text(json.dumps(result, indent=2) + "\n")
    print(f"| {each} pictures of {args.side} px | pytorch-fid | add eval | ratio |\n|---|---|---|---|")
    for i, row in enumerate(rows):
        print(f"| turn {i + 1} | {row['theirs']:.1f} s | {row['ours']:.1f} s | {row['ours'] / row['theirs']:.2f} |")
    print(f"| largest memory | {rows[0]['their_memory']:.0f} MiB | {rows[0]['our_memory']:.0f} MiB | |")
    print(f"\n`add eval` of {DIFFERENT} pictures: {few[1]:.0f} MiB, so {growth:.1f} KiB a picture more.")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--peer"]:
        peer(*map(pathlib.Path, sys.argv[2:]))
    else:
        main()
