"""Compiles the kernels that hollow_driver.c wrote down, and says which were refused: `compile_kernels.py [--minutes N] FOLDER…`.

Each FOLDER, such as `sm_90`, is that of a GPU, and its folder `kernels` has the programs. NVRTC makes PTX of each, with the
options that the run asked for, and ptxas compiles that once more, as a driver does; both are in CUDA_PATH. Beside a program appears
its `.ptx`, and where one of the two refuses it, `.refused` or `.failed` with its words. What is there already is not made again,
and after so many minutes the rest is left for another call. Prints a Markdown table by GPU and step; ends with 1 where a kernel was
refused or is left, and where there are none.
"""

import argparse
import collections
import ctypes
import glob
import multiprocessing
import os
import pathlib
import subprocess
import sys
import time

TOOLKIT = pathlib.Path(os.environ["CUDA_PATH"])
RESULTS = [".ptx", ".refused", ".failed"]


def nvrtc():
    return ctypes.CDLL(sorted(glob.glob(str(TOOLKIT / "lib" / "libnvrtc.so.*")))[0])


def text_of(library, kind, program):
    size = ctypes.c_size_t()
    getattr(library, f"nvrtcGet{kind}Size")(program, ctypes.byref(size))
    text = ctypes.create_string_buffer(size.value)
    getattr(library, f"nvrtcGet{kind}")(program, text)
    return text.value


def compile_one(path):
    library = nvrtc()
    notes, source = path.read_text().split("\n\n", 1)
    options = [line.removeprefix("// ").encode() for line in notes.splitlines()[1:]]
    program = ctypes.c_void_p()
    library.nvrtcCreateProgram(ctypes.byref(program), source.encode(), None, 0, None, None)
    status = library.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*options))
    kind, suffix = ("ProgramLog", ".refused") if status else ("PTX", ".ptx")
    words = text_of(library, kind, program)
    library.nvrtcDestroyProgram(ctypes.byref(program))
    if not status:
        # The features of a GPU alone, such as its tensor cores' newest, are those of its name with an a.
        target = path.parent.parent.name
        target += "a" if int(target.removeprefix("sm_")) >= 90 else ""
        written = path.with_suffix(".part")
        written.write_bytes(words)
        told = subprocess.run([TOOLKIT / "bin/ptxas", f"-arch={target}", "-o", os.devnull, written], capture_output=True)
        written.unlink()
        if told.returncode:
            suffix, words = ".failed", told.stderr
    path.with_suffix(suffix).write_bytes(words)


def result(path):
    return next((suffix for suffix in RESULTS if path.with_suffix(suffix).exists()), None)


def compile_all(kernels, minutes):
    began = shown = time.monotonic()
    with multiprocessing.Pool() as pool:
        for done, _ in enumerate(pool.imap_unordered(compile_one, kernels), 1):
            now = time.monotonic()
            if now - began > 60 * minutes:
                break
            if now - shown > 10:
                shown = now
                left = (now - began) / done * (len(kernels) - done)
                print(f"{done} of {len(kernels)} kernels, {left / 60:.0f} minutes left", file=sys.stderr, flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folders", nargs="+", type=pathlib.Path)
    parser.add_argument("--minutes", type=float, default=float("inf"))
    arguments = parser.parse_args()
    kernels = [path for folder in arguments.folders for path in (folder / "kernels").glob("*.cu")]
    # Names say nothing of a kernel, so that what is done when time is up is a sample of all.
    kernels.sort(key=lambda path: path.name)
    compile_all([path for path in kernels if result(path) is None], arguments.minutes)
    rows = collections.defaultdict(collections.Counter)
    for path in kernels:
        with path.open() as file:
            step = file.readline().removeprefix("// ").strip()
        rows[path.parent.parent.name, step][result(path)] += 1
    print("| GPU | step | kernels | compiled | refused by NVRTC | refused by ptxas |\n|---|---|---:|---:|---:|---:|")
    for (gpu, step), results in sorted(rows.items()):
        made, refused, failed = (results[suffix] for suffix in RESULTS)
        print(f"| {gpu} | {step} | {results.total()} | {made} | {refused} | {failed} |")
    return 0 if rows and all(set(results) == {".ptx"} for results in rows.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
