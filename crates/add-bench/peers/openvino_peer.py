"""OpenVINO's side of a comparison: `openvino_peer.py WORK THREADS PRECISION FOLDER`, told on standard input what to do.

`openvino_peer.py export WORK FOLDER` comes first and by itself: it converts PyTorch's networks, as a user does once. PRECISION
is OpenVINO's hint for inference, `f32` or `bf16`; the values in the files are f32.
"""

import json
import pathlib
import sys


def export(work, folder):
    import numpy
    import openvino
    import torch

    import torch_peer

    for name, (net, args) in torch_peer.networks(work).items():
        with torch.no_grad():
            model = openvino.convert_model(net, example_input=tuple(args), input=[tuple(x.shape) for x in args])
        openvino.save_model(model, folder / f"{name}.xml", compress_to_fp16=False)
        numpy.savez(folder / f"{name}.npz", *[x.numpy() for x in args])


def run(work, threads, precision, folder):
    import numpy
    import openvino

    import protocol

    settings = {
        "INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY",
    }
    core = openvino.Core()
    call, inputs = {}, {}
    for file in folder.glob("*.xml"):
        with numpy.load(file.with_suffix(".npz")) as arrays:
            inputs[file.stem] = list(arrays.values())
        compiled = core.compile_model(file, "CPU", settings)
        call[file.stem] = lambda *args, compiled=compiled: compiled(list(args))[0]
    protocol.serve(protocol.inference(work, call, inputs))


if sys.argv[1] == "export":
    export(json.loads(sys.argv[2]), pathlib.Path(sys.argv[3]))
else:
    run(json.loads(sys.argv[1]), int(sys.argv[2]), sys.argv[3], pathlib.Path(sys.argv[4]))
