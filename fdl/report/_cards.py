"""Cards: what was planned and how it was run, as lines of text."""

from collections.abc import Iterator, Sequence
from typing import Any

from fdl.compare import Study
from fdl.report._data import PHASES
from fdl.report._findings import Findings
from fdl.report._tables import duration

Line = tuple[str, str]
SAID = (
    "name",
    "dataset",
    "source",
    "licence",
    "crc32",
    "examples",
    "model",
    "parameters",
    "batch_size",
    "steps",
    "evaluate_every",
    "objective",
    "maximise",
)


def task(card: dict[str, Any]) -> list[Line]:
    """What was trained; entries that fdl has no words for stand as they are."""
    sizes = ", ".join(f"{n:,} {split}" for split, n in card.get("examples", {}).items())
    origin = ", ".join(filter(None, (card.get("source"), card.get("licence"), f"CRC-32 {card['crc32']}" if "crc32" in card else "")))
    said = {
        "data": ". ".join(filter(None, (card.get("dataset"), sizes and f"{sizes} examples", origin))),
        "model": "\n".join([f"{card['parameters']:,} parameters" if "parameters" in card else "", *card.get("model", [])]).strip(),
        "budget": f"{card['steps']:,} steps with batches of {card['batch_size']}, measured every {card['evaluate_every']}",
        "objective": f"{'highest' if card['maximise'] else 'lowest'} {card['objective']} at the end of the run",
    }
    common = ("common random numbers", "equal seeds mean equal initial parameters and equal batches for every contestant")
    return [*((name, text) for name, text in said.items() if text), *lines({k: v for k, v in card.items() if k not in SAID}), common]


def environment(study: Study) -> list[Line]:
    """Software, hardware, layout, and the work done."""
    counts = {phase: sum(run.phase == phase for run in study.runs) for phase in PHASES}
    work = [("runs", ", ".join(f"{count:,} {PHASES[phase]}" for phase, count in counts.items() if count))]
    if study.manifest.get("seconds"):
        work.append(("time", f"{duration(study.manifest['seconds'])} with compilation"))
    return [*lines(study.manifest.get("environment", {})), *work]


def budget(findings: Findings) -> str:
    """How trials were spread, and that all had as many."""
    plan, sampler = findings.plan, findings.plan.get("sampler", "grid")
    drawn = f"{sampler.capitalize()} points with sampler seed {plan.get('sampler_seed')}"
    points = "on a regular grid, its ends included" if sampler == "grid" else drawn
    halving = f" Successive halving ended the worse of them early (eta {plan['halving']})." if plan.get("halving") else ""
    return (
        f"Equal budgets: {_count(plan['trials'], 'trial')} for each contestant, {points}; {_count(plan['seeds'], 'tuning seed')} a trial, "
        f"{findings.task['steps']:,} steps a run.{halving} What shows one number was fixed, not tuned."
    )


def side_by_side(studies: Sequence[Findings]) -> list[tuple[str, list[tuple[str, list[str], bool]]]]:
    """The cards of several studies: title, and rows of an entry's name, its text in each study, and whether they differ."""
    plans = [{k: v for k, v in {**f.plan, **f.plan["contestants"]}.items() if k not in ("task", "contestants")} for f in studies]
    made = {
        "Task": [f.task for f in studies],
        "Search space": plans,
        "Environment": [f.study.manifest.get("environment", {}) for f in studies],
    }
    return [(title, _differences([dict(_flat(card)) for card in cards])) for title, cards in made.items()]


def lines(card: dict[str, Any]) -> list[Line]:
    """A card's entries, what is nested in one on its line."""
    nested = lambda value: ", ".join(f"{k} {v}" for k, v in _flat(value)) if isinstance(value, dict) else _said(value)
    return [(key.replace("_", " "), nested(value)) for key, value in card.items()]


def _differences(cards: Sequence[dict[str, str]]) -> list[tuple[str, list[str], bool]]:
    keys = list(dict.fromkeys(key for card in cards for key in card))
    rows = [(key, [card.get(key, "-") for card in cards]) for key in keys]
    return [(key, values, len(set(values)) > 1) for key, values in rows]


def _flat(card: dict[str, Any], prefix: str = "") -> Iterator[Line]:
    """A nested card as lines: `("versions jax", "0.10.2")`."""
    for key, value in card.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key} ")
        else:
            yield f"{prefix}{key}".replace("_", " "), _said(value)


def _said(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "-"}[value]
    return "; ".join(map(_said, value)) if isinstance(value, list) else f"{value:g}" if isinstance(value, float) else str(value)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"
