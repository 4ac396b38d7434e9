"""A study's answer in a sentence."""

from collections.abc import Sequence
from math import inf

from fdl.compare._paired import Comparison, least_seeds
from fdl.compare._results import Result

NAMED = 6  # contestants in a list; of more, the last are counted


def headline(results: Sequence[Result], comparisons: Sequence[Comparison], objective: str, maximise: bool) -> str:
    """The answer in a sentence, no stronger than the data; where there is no evidence, what could have been found."""
    ranked = [r for r in results if r.test]
    if not ranked:
        done = any(r.final_runs for r in results) or not any(r.chosen for r in results)
        why = (
            "every one diverged, while tuning or with its fresh seeds"
            if done
            else "the chosen trials have not been trained with fresh seeds yet"
        )
        return f"No contestant can be ranked: {why}."
    leader = ranked[0]
    against = [c for c in comparisons if c.better == leader.contestant]
    erratic = [c for c in against if c.difference.value < 0]  # ranked below for its diverged seeds alone
    alike = [c for c in against if not c.significant and c not in erratic]
    parts = [f"{leader.contestant} reached the {'highest' if maximise else 'lowest'} mean test {objective}, {_mean(leader)}"]
    if alike:
        parts.append(f"there is no evidence of a difference from {_and([c.worse for c in alike])}{_power(alike, len(comparisons))}")
    worse = [c.worse for c in against if c.significant]
    if worse:
        parts.append(f"{_and(worse)} {'was' if len(worse) == 1 else 'were'} worse")
    for c in erratic:
        lost = next(r for r in ranked if r.contestant == c.worse)
        parts.append(f"{c.worse} did better with the seeds it finished, but diverged with {lost.diverged_final} of {lost.final_runs}")
    failed = [r.contestant for r in results if not r.test]
    if failed:
        parts.append(f"{_and(failed)} diverged")
    return "; ".join(parts) + "."


def _mean(leader: Result) -> str:
    lost = f" ({leader.diverged_final} more diverged)" if leader.diverged_final else ""
    return f"{leader.mean.value:.4g} over {len(leader.test)} seed{'s' * (len(leader.test) != 1)}{lost}"


def _power(alike: Sequence[Comparison], pairs: int) -> str:
    """What the study could have found: the differences that it did not find may be smaller."""
    sizes = [c.detectable for c in alike if 0 < c.detectable < inf]
    if sizes:
        return f" (one of {max(sizes):.2g} would be found with 80 % power)"
    seeds, needed = max(c.seeds for c in alike), least_seeds(pairs)
    if seeds >= needed:
        return ""
    among = f" among {pairs} pairs" if pairs > 1 else ""
    return f" ({seeds} seeds can show none{among}: at least {needed} are needed)"


def _and(names: Sequence[str]) -> str:
    if len(names) > NAMED:
        names = [*names[: NAMED - 1], f"{len(names) - NAMED + 1} others"]
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]
