"""Reads the event files of a run folder with TensorBoard's own EventAccumulator and compares them with metrics.jsonl.

    python -m venv venv && venv/bin/pip install tensorboard
    venv/bin/python crates/add-tensorboard/peers/read_run.py runs/emoji

Every number of metrics.jsonl must be there once, at its step, equal in single precision, and nothing else; every grid of
samples/ must be there to the byte, and the recipe as text.
"""

import json
import sys
from pathlib import Path

import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def logged(run):
    """By tag: the steps and values that metrics.jsonl has."""
    curves = {}
    for line in (run / "metrics.jsonl").read_text().splitlines():
        row = json.loads(line)
        step = row.pop("step")
        for name, figure in row.items():
            items = {f"{name}/{at}": item for at, item in enumerate(figure)} if isinstance(figure, list) else {name: figure}
            for tag, value in items.items():
                if value is not None:
                    curves.setdefault(tag, []).append((step, np.float32(value)))
    return curves


def main(run):
    events = EventAccumulator(str(run), size_guidance={"scalars": 0, "images": 0, "tensors": 0})
    events.Reload()
    want = logged(run)
    tags = events.Tags()
    assert sorted(tags["scalars"]) == sorted(want), set(tags["scalars"]) ^ set(want)
    numbers = 0
    for tag, points in want.items():
        found = [(event.step, np.float32(event.value)) for event in events.Scalars(tag)]
        assert found == points, f"{tag}: {len(found)} of {len(points)} points, or other values"
        numbers += len(points)
    grids = {int(path.stem.removeprefix("step-")): path.read_bytes() for path in (run / "samples").glob("step-*.png")}
    pictures = {event.step: event.encoded_image_string for event in events.Images("samples")} if grids else {}
    assert pictures == grids, (sorted(pictures), sorted(grids))
    (text,) = events.Tensors("recipe/text_summary")[0].tensor_proto.string_val
    assert text.decode() == f"```\n{(run / 'recipe.ron').read_text().rstrip()}\n```"
    print(f"{run}: {len(want)} scalars, {numbers} values, {len(grids)} grids and the recipe are equal")


if __name__ == "__main__":
    for folder in sys.argv[1:]:
        main(Path(folder))
