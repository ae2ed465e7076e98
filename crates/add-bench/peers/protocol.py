"""What the peers share: the words of their conversation with add-bench, which stand in its src/worker.rs, and what a chain of
networks does with each other's outputs."""

import sys
import time


def memory(field):
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith(field):
                return 1024 * int(line.split()[1])
    return 0


def serve(job):
    """Does `job` once, then as often as standard input asks for."""
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


# Of the released schedule at its last timestep, and the factor of the latents.
ALPHA, SIGMA = 0.068265, 0.997667
SCALE = {"kl": 0.18215, "tiny": 1.0}


def inference(work, call, inputs):
    """One time of the work, by functions that stand for its networks."""
    if work["kind"] == "unet":
        return lambda: call["unet"](*inputs["unet"])
    (ids,), (x, t, _) = inputs["text"], inputs["unet"]

    def picture():
        eps = call["unet"](x, t, call["text"](ids))
        return call["decoder"]((x - SIGMA * eps) / ALPHA / SCALE[work["codec"]])
    return picture
