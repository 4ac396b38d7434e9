"""How a study is laid out on this machine's devices, by the size of its programs and a timed probe."""

import math
import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax

from fdl.compare._work import Layout, cores
from fdl.train import Trainable, Trainer

SMALL = 1e8  # FLOPs of a batch's forward pass; digits-cnn has 1e7 and runs 1.4 times as fast without the fast options
TINY = 2e6  # below this kernels are so short that mapping them over runs pays on CPU; digits-mlp has 6e5
LONG = 60  # seconds of training for which processes are worth the few that they take to start, at RATE
RATE = 5e10  # FLOPs a second of one core, as digits-mlp, digits-cnn and vowels-lstm train
WORTH_A_PROBE = 300_000  # steps of all runs; fewer take less time than programs to try
CHUNKS = {"cpu": (16, 64), "accelerator": (8, 32, 128, 512)}  # runs in a program, tried smallest first


def decide(task: Trainable, optimizer: Any, families: int, each: int, workers: int | None, chunk: int | None, memory: float) -> Layout:
    """The layout for so many families of so many runs each, of optimizers like this one.

    On CPU programs of one run, side by side on a thread a core: mapping gains nothing for convolutions, and a run's bits do
    not depend on what is trained beside it. Where kernels are tiny, and on accelerators, programs map several runs: in large
    studies several sizes are timed on one segment, as long as they fit the memory.

    Args:
        workers, chunk: where given, taken as they are.
        memory: bytes that all programs together may take.
    """
    cpu = jax.default_backend() == "cpu"
    many = workers or (cores() if cpu else 1)
    single = Layout(many, chunk or 1, not cpu or many == 1 or task.flops() > SMALL, 1 if cpu else math.gcd(chunk or 0, len(jax.devices())))
    if chunk or (cpu and task.flops() > TINY):
        return single
    even = lambda size: -(-each // -(-each // size))  # no larger, so that the last chunk of a family is full as well
    if cpu and families * each * task.steps < WORTH_A_PROBE:
        return single._replace(chunk=even(CHUNKS["cpu"][0])) if each >= CHUNKS["cpu"][0] else single
    sizes = [even(size) for size in CHUNKS["cpu"]] if cpu else [size * single.devices for size in CHUNKS["accelerator"]]
    candidates = [single] * cpu + [single._replace(chunk=size) for size in dict.fromkeys(sizes) if size <= each]
    best, rate = single._replace(chunk=single.devices), 0.0
    for layout in candidates if len(candidates) > 1 else ():
        found, size = probe(task, optimizer, layout)
        if size * many > memory:
            break
        if found > rate:
            best, rate = layout, found
    return best


def prefers_processes(task: Trainable, layout: Layout, runs: int) -> bool:
    """Whether so many runs are faster by processes: on CPU, small programs in threads of one pool wait for each other's parts.

    Processes gained a tenth on digits-mlp and vowels-lstm, a fifth on digits-cnn.
    """
    small = jax.default_backend() == "cpu" and layout.workers > 1 and not layout.fast
    return small and 3 * task.flops() * task.steps * runs / (RATE * layout.workers) > LONG


def probe(task: Trainable, optimizer: Any, layout: Layout) -> tuple[float, int]:
    """Steps a second over all runs, and the bytes that one program takes."""
    trainer = Trainer(task, layout.chunk, layout.fast, layout.devices)
    optimizers = [optimizer] * layout.chunk
    program = trainer.compile(optimizers)
    seeds = list(range(layout.chunk))

    def segments(count: int) -> None:
        run = trainer.run(program, optimizers, seeds)
        for _, _ in zip(range(count), run):
            pass

    segments(1)  # compiles the rest
    count = min(2, task.steps // task.evaluate_every)
    with ThreadPoolExecutor(layout.workers) as pool:
        begun = time.perf_counter()
        list(pool.map(segments, [count] * layout.workers))
    seconds = time.perf_counter() - begun
    return count * task.evaluate_every * layout.chunk * layout.workers / seconds, size_of(program)


def default_memory() -> float:
    """Half of what the first device has, or the machine where it is a CPU."""
    if jax.default_backend() == "cpu":
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2
    return jax.devices()[0].memory_stats().get("bytes_limit", 2**34) / 2


def size_of(program: Any) -> int:
    """Bytes of a compiled program's arguments, results and temporaries."""
    found = program.memory_analysis()
    return found.argument_size_in_bytes + found.output_size_in_bytes + found.temp_size_in_bytes
