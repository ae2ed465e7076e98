"""webdataset's side of a comparison, with Pillow in PyTorch's loader: `webdataset_peer.py WORK THREADS VARIANT`, told on standard
input what to do.

It reads the shards that `feed.rs` has made by the time that this side starts, in the folder for temporary files.
"""

import glob
import json
import os
import sys
import tempfile

import numpy
import torch
import webdataset
from PIL import Image, ImageOps

import protocol

# Samples among which the next one is drawn: what its documentation has, a thousand.
SHUFFLED = 1000


def prepared(size):
    def prepare(sample):
        # Box is the mean over areas, which is how this project makes pictures smaller.
        picture = ImageOps.fit(sample[0].convert("RGB"), (size, size), Image.Resampling.BOX)
        values = torch.from_numpy(numpy.asarray(picture, dtype=numpy.float32) / 127.5 - 1)
        return values.permute(2, 0, 1).contiguous(), sample[1]
    return prepare


def main():
    work, threads = json.loads(sys.argv[1]), int(sys.argv[2])
    torch.set_num_threads(1)
    shards = sorted(glob.glob(os.path.join(tempfile.gettempdir(), "add-bench", "photographs", "*.tar")))
    data = webdataset.WebDataset(shards, resampled=True, shardshuffle=False, nodesplitter=None)
    data = data.shuffle(SHUFFLED).decode("pil").to_tuple("jpg", "txt").map(prepared(work["size"])).batched(work["batch"])
    # A process for each thread of the other side.
    batches = iter(torch.utils.data.DataLoader(data, batch_size=None, num_workers=threads, prefetch_factor=2))
    protocol.serve(lambda: [next(batches) for _ in range(work["batches"])])


if __name__ == "__main__":
    main()
