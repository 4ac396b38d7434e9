"""What the benchmarks share: rows that must agree, timed in turn, and the rate at which this machine multiplies matrices."""

import gzip
import json
import os
import re
import tempfile
import time
from pathlib import Path
from statistics import median

import jax
import jax.numpy as jnp
import numpy as np

from fdl import core

GEMM = "matrix product, JAX"


def header():
    device = jax.devices()[0].device_kind
    return f"{len(os.sched_getaffinity(0))} cores, {device}, jax {jax.__version__}, load average {os.getloadavg()[0]:.1f}"


def gemm():
    """A call that multiplies matrices, and its FLOPs."""
    a, b = jnp.ones((2048, 1024)), jnp.ones((1024, 1024))
    product = core.jit(jnp.matmul)
    return lambda: jax.block_until_ready([product(a, b) for _ in range(8)]), 8 * 2 * 2048 * 1024 * 1024


def agreeing(makers, given, wide=1e-2):
    """Those of `makers`, functions of what is given, whose calls find the losses of the first: `{name: (call, losses)}`."""
    rows, first = {}, None
    for name, make in makers.items():
        try:
            call = make(given)
            found = np.ravel(call())
        except (ImportError, RuntimeError) as error:  # torch.compile needs a C++ compiler
            print(f"{name}: skipped ({str(error).splitlines()[0]})")
            continue
        first = found if first is None else first
        if abs(found[0] - first[0]) > 1e-4 * max(1, abs(first[0])) or not np.isfinite(found).all() or abs(found - first).max() > wide:
            raise SystemExit(f"{name} trains something else: losses {found}, the first row's are {first}")
        rows[name] = call, found
    return rows


def rates(calls, seconds, rounds):
    """Calls a second of each, `{name: [one of every round]}`; timed in turn, round after round."""
    found = {name: [] for name in calls}
    for name, call in [*calls.items()] * rounds:
        time.sleep(0.1)  # lets the threads of the one before fall asleep
        begun, count = time.perf_counter(), 0
        while count == 0 or time.perf_counter() - begun < seconds:
            call()
            count += 1
        found[name].append(count / (time.perf_counter() - begun))
    return found


def table(title, rows, flops, seconds, rounds, ours="fdl, scan", peers=("PyTorch", "JAX")):
    """Prints steps a second of every row, median and range, as shares of the rate of matrix products, and fdl beside the best peers.

    Args:
        title: of the table.
        rows: `{name: (call, losses)}`; a call is as many steps as it finds losses.
        flops: of one step.
        seconds, rounds: as `rates` takes them.
        ours: the row that is compared.
        peers: beginnings of names, of each of which the fastest is compared.
    """
    product, work = gemm()
    timed = rates({GEMM: product} | {name: call for name, (call, _) in rows.items()}, seconds, rounds)
    limit = median(timed[GEMM]) * work
    print(f"\n{title + f', {flops / 1e9:.2f} GFLOP a step':42}  steps/s     min - max      GFLOP/s   share")
    print(f"{GEMM:42}{'':31}{limit / 1e9:8.1f}{1:9.2f}")
    speed = {}
    for name, (_, losses) in rows.items():
        steps = [len(losses) * rate for rate in timed[name]]
        speed[name] = median(steps)
        scope = f"{min(steps):8.2f} - {max(steps):<8.2f}"
        print(f"{name:42}{speed[name]:9.2f}  {scope}{speed[name] * flops / 1e9:8.1f}{speed[name] * flops / limit:9.2f}")
    for kind in peers:
        best = max((name for name in speed if name.startswith(kind)), key=speed.get, default=None)
        if best is not None and ours in speed:
            print(f"{ours} / {best}: {speed[ours] / speed[best]:.2f}")


def profile(title, function, args, steps, flops, fast=True):
    """Prints where a compiled call of `steps` steps spends its cores' time: by layer, in products and in all else.

    Operations are timed by XLA's own trace and told apart by the scopes that fdl's layers leave in the compiled program; what
    was fused is counted where the fused operation stands. The trace lacks what an operation that spreads over several threads
    does on the others: the sum is less than the step's time on all cores.
    """
    compiled = core.jit(function, fast=fast).lower(*args).compile()
    places, products = {}, set()
    for line in compiled.as_text().splitlines():
        found = re.match(r"\s*(?:ROOT )?%?([\w.-]+) = .*?op_name=\"([^\"]*)\"", line)
        if found:
            layers = re.findall(r"\b([a-z]\w*_\d+)\b", found[2].split("while/body", 1)[-1])
            places[found[1]] = ".".join(dict.fromkeys(layers)) or "loss, update and batches"
            if re.search(r"__ynn_fusion| dot\(| convolution\(|custom-call\(", line):
                products.add(found[1])
    jax.block_until_ready(compiled(*args))
    begun = time.perf_counter()
    jax.block_until_ready(compiled(*args))
    seconds = (time.perf_counter() - begun) / steps
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            jax.block_until_ready(compiled(*args))
        file = next(Path(folder).rglob("*.trace.json.gz"))
        events = json.loads(gzip.decompress(file.read_bytes()))["traceEvents"]
    spent = {}
    for event in events:
        if event.get("name") in places and event["name"].partition(".")[0] not in ("while", "call"):
            key = places[event["name"]], event["name"] in products
            spent[key] = spent.get(key, 0) + event["dur"] / 1e3 / steps
    product, work = gemm()
    rate = max(rates({GEMM: product}, 0.5, 3)[GEMM]) * work
    limit = f"{1e3 * flops / rate:.3g} at the rate of matrix products of all cores"
    print(f"\n{title}: {flops / 1e9:.2f} GFLOP a step, {1e3 * seconds:.3g} ms; {limit}")
    print(f"{'core milliseconds a step':32} products      else")
    for place in sorted({place for place, _ in spent}, key=lambda place: -spent.get((place, True), 0) - spent.get((place, False), 0)):
        print(f"{place:32}{spent.get((place, True), 0):9.3f} {spent.get((place, False), 0):9.3f}")
    totals = [sum(ms for (_, product), ms in spent.items() if product == kind) for kind in (True, False)]
    print(f"{'sum':32}{totals[0]:9.3f} {totals[1]:9.3f}")
