"""The plan that `simul-whisper coreml info` prints on a Mac: which operators run where."""

from collections import Counter
from collections.abc import Iterator, Sequence

from simul_whisper.coreml.plan import Planned, Row, Unit, rows
from simul_whisper.coreml.runtime import wants_neural_engine

_COLUMNS = {Unit.CPU: "CPU", Unit.GPU: "GPU", Unit.NEURAL_ENGINE: "Engine", Unit.UNKNOWN: "unknown"}


def plan_lines(operations: Sequence[Planned], compute_units: str) -> Iterator[str]:
    """Yield, for each function, a table of operators by unit and cost, and what is not on the Neural Engine."""
    for function in dict.fromkeys(each.function for each in operations):
        found = [each for each in operations if each.function == function]
        yield f"plan      {function} with {compute_units}: {_shares(found)}"
        yield from _table(rows(found))
        if not wants_neural_engine(compute_units):
            continue
        for could, said in ((False, "it cannot run"), (True, "it could run, and is not to")):
            off = Counter(
                each.type
                for each in found
                if each.preferred not in (Unit.NEURAL_ENGINE, Unit.UNKNOWN)
                and (Unit.NEURAL_ENGINE in each.supported) is could
            )
            if off:
                counted = ", ".join(f"{name} (x{count})" for name, count in off.most_common())
                yield f"          not on the Neural Engine, which {said}: {counted}"


def _shares(found: Sequence[Planned]) -> str:
    """Return how much of the estimated cost each unit gets."""
    total = sum(each.cost for each in found)
    if not total:
        return "Core ML estimates no cost"
    costs = {unit: sum(each.cost for each in found if each.preferred is unit) for unit in Unit}
    told = (f"{100 * cost / total:.0f} % on {_named(unit)}" for unit, cost in costs.items() if cost)
    return f"of the estimated cost {', '.join(told)}"


def _named(unit: Unit) -> str:
    return "an unknown unit" if unit is Unit.UNKNOWN else f"the {unit.value}"


def _table(counted: Sequence[Row]) -> Iterator[str]:
    shown = {unit: title for unit, title in _COLUMNS.items() if any(row.counts[unit] for row in counted)}
    width = max(len("operator"), *(len(row.type) for row in counted))
    yield "  ".join([f"          {'operator':<{width}}", *(f"{title:>7}" for title in shown.values()), "   cost"])
    for row in counted:
        numbers = [f"{row.counts[unit]:>7}" for unit in shown]
        yield "  ".join([f"          {row.type:<{width}}", *numbers, f"{100 * row.cost:>5.1f} %"])
