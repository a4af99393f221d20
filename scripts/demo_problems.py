"""Makes the calculations of the demo texts, code and mathematics, which are worked out step by step.

Each maker draws one unit (see demo_words.py) from the random generator it is given, or raises
OutOfRange for the caller to draw again.
"""

from __future__ import annotations

import json
import random

from demo_words import NAMES, OBJECTS, WORDS, Unit

LARGEST_NUMBER = 99  # bounds every intermediate result, because a 3M model masters two digits


class OutOfRange(Exception):
    """Says that an intermediate result is out of range, so that the caller draws again."""


def _calculate(left: int, operator: str, right: int) -> int:
    """Returns the result if it and both operands are whole and from 0 to LARGEST_NUMBER."""
    if operator == "/" and (right == 0 or left % right):
        raise OutOfRange
    quotient = left // max(right, 1)
    result = {"+": left + right, "-": left - right, "*": left * right, "/": quotient}[operator]
    if not all(0 <= number <= LARGEST_NUMBER for number in (left, right, result)):
        raise OutOfRange
    return result


# --- code -----------------------------------------------------------------------------------------


def _change(rng: random.Random) -> tuple[str, int]:
    """An operator and the constant on its right."""
    operator = rng.choice("++--*")
    return operator, rng.randint(2, 5) if operator == "*" else rng.randint(1, 30)


def _variables(rng: random.Random, count: int) -> list[str]:
    return rng.sample(WORDS[rng.choice(("variables", "long_variables"))], count)


# Each maker of code returns the lines, the trace of the assignments, and the printed value.
_Code = tuple[list[str], list[str], int]


def _straight_code(rng: random.Random) -> _Code:
    """Assignments that use earlier variables; one of them, not always the last, is printed."""
    names = _variables(rng, rng.randint(3, 5))
    values: dict[str, int] = {}
    lines, trace = [], []
    for name in names + rng.sample(names, rng.randint(0, 2)):
        if len(values) < 2:
            values[name] = rng.randint(2, 30)
            lines.append(f"{name} = {values[name]}")
            trace.append(lines[-1])
            continue
        (operator, number), left = _change(rng), rng.choice(list(values))
        right = str(number)
        if operator != "*" and rng.random() < 0.6:
            right = rng.choice(list(values))
            number = values[right]
        lines.append(f"{name} = {left} {operator} {right}")
        step = f"{name} = {values[left]} {operator} {number}"
        values[name] = _calculate(values[left], operator, number)
        trace.append(f"{step} = {values[name]}")
    printed = rng.choice(list(values))
    return [*lines, f"print({printed})"], trace, values[printed]


def _loop_code(rng: random.Random) -> _Code:
    total, item = _variables(rng, 2)
    operator = rng.choice("++-")
    value = rng.randint(0, 20) + (50 if operator == "-" else 0)
    numbers = [rng.randint(1, 20) for _ in range(rng.randint(2, 4))]
    lines = [
        f"{total} = {value}",
        f"for {item} in {numbers}:",
        f"    {total} = {total} {operator} {item}",
        f"print({total})",
    ]
    trace = [f"{total} = {value}"]
    for number in numbers:
        before, value = value, _calculate(value, operator, number)
        trace.append(f"{total} = {before} {operator} {number} = {value}")
    return lines, trace, value


def _table_code(rng: random.Random) -> _Code:
    """Look-ups in a dictionary, then arithmetic on what was found."""
    table, one, two, result = _variables(rng, 4)
    prices = {key: rng.randint(2, 30) for key in rng.sample(OBJECTS, rng.randint(3, 5))}
    first, second = rng.sample(list(prices), 2)
    operator = rng.choice("+-")
    value = _calculate(prices[first], operator, prices[second])
    lines = [
        f"{table} = {json.dumps(prices)}",
        f'{one} = {table}["{first}"]',
        f'{two} = {table}["{second}"]',
        f"{result} = {one} {operator} {two}",
        f"print({result})",
    ]
    sum_step = f"{result} = {prices[first]} {operator} {prices[second]} = {value}"
    trace = [f"{one} = {prices[first]}", f"{two} = {prices[second]}", sum_step]
    return lines, trace, value


def _function_code(rng: random.Random) -> _Code:
    x, y, result = _variables(rng, 3)
    name = rng.choice(("move", "step", "change", "combine", "adjust", "mix"))
    first, second, operator = rng.randint(5, 30), rng.randint(1, 20), rng.choice("+-")
    outer, number = _change(rng)
    inner = _calculate(first, operator, second)
    value = _calculate(inner, outer, number)
    lines = [
        f"def {name}({x}, {y}):",
        f"    return {x} {operator} {y}",
        f"{result} = {name}({first}, {second})",
        f"{result} = {result} {outer} {number}",
        f"print({result})",
    ]
    trace = [
        f"{x} = {first}",
        f"{y} = {second}",
        f"{result} = {first} {operator} {second} = {inner}",
        f"{result} = {inner} {outer} {number} = {value}",
    ]
    return lines, trace, value


def make_snippet(rng: random.Random) -> Unit:
    make = rng.choice((_straight_code, _straight_code, _loop_code, _table_code, _function_code))
    lines, trace, printed = make(rng)
    program = "\n".join(lines)
    return [(f"# program\n{program}\n# trace:", f" {'; '.join(trace)}; prints {printed}\n")]


# --- mathematics ----------------------------------------------------------------------------------


class _Working:
    """Collects the steps of a solution."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    def do(self, left: int, operator: str, right: int, subject: str = "") -> int:
        result = _calculate(left, operator, right)
        self.steps.append(f"{subject}{left} {operator} {right} = {result}.")
        return result


# Each maker of problems returns the story with its question, and the answer.
def _inventory_problem(rng: random.Random, work: _Working) -> tuple[str, int]:
    """A stock that two or three events change."""
    (name, other), thing, count = rng.sample(NAMES, 2), rng.choice(OBJECTS), rng.randint(4, 40)
    story = [rng.choice(WORDS["stocks"]).format(n=name, c=count, t=thing)]
    for _ in range(rng.randint(2, 3)):
        event = rng.choice(WORDS["stock_events"])
        few, many, number = rng.randint(2, 5), rng.randint(2, 9), rng.randint(2, 30)
        story.append(event["text"].format(n=name, o=other, t=thing, a=few, b=many, c=number))
        changed = work.do(few, "*", many) if "{a}" in event["text"] else number
        count = work.do(count, event["operator"], changed)
    story.append(rng.choice(WORDS["stock_questions"]).format(n=name, t=thing))
    return " ".join(story), count


def _shopping_problem(rng: random.Random, work: _Working) -> tuple[str, int]:
    name, (one, two) = rng.choice(NAMES), rng.sample(OBJECTS, 2)
    few, price, some, cost = (rng.randint(2, 9) for _ in range(4))
    cash = rng.randint(40, LARGEST_NUMBER)
    spent = work.do(work.do(few, "*", price), "+", work.do(some, "*", cost))
    story = rng.choice(WORDS["purchases"]).format(
        n=name, a=few, x=one, b=price, c=some, y=two, d=cost
    )
    if rng.random() < 0.5:
        return f"{story} How many dollars does {name} spend?", spent
    left = work.do(cash, "-", spent)
    return f"{story} {name} had {cash} dollars. How many dollars are left?", left


def _comparison_problem(rng: random.Random, work: _Working) -> tuple[str, int]:
    people, thing, counts = rng.sample(NAMES, 3), rng.choice(OBJECTS), [rng.randint(3, 25)]
    story = [f"{people[0]} has {counts[0]} {thing}."]
    work.steps.append(f"{people[0]}: {counts[0]}.")
    for before, person in zip(people, people[1:]):
        number = rng.randint(2, 15)
        phrase, operator, operand = rng.choice(
            (
                (f"{number} more than", "+", number),
                (f"{number} fewer than", "-", number),
                ("twice as many as", "*", 2),
                ("three times as many as", "*", 3),
            )
        )
        story.append(f"{person} has {phrase} {before}.")
        counts.append(work.do(counts[-1], operator, operand, f"{person}: "))
    one, two = rng.sample(range(3), 2)
    story.append(f"How many {thing} do {people[one]} and {people[two]} have together?")
    pair = f"{people[one]} and {people[two]}: "
    return " ".join(story), work.do(counts[one], "+", counts[two], pair)


def _rows_problem(rng: random.Random, work: _Working) -> tuple[str, int]:
    """A product, then a change of it."""
    few, many, number = rng.randint(2, 9), rng.randint(2, 9), rng.randint(2, 30)
    operator, scene = rng.choice("+-"), rng.choice(WORDS["rows"])
    story = f"{scene['start']} {scene[operator]}"
    answer = work.do(work.do(few, "*", many), operator, number)
    return story.format(n=rng.choice(NAMES), a=few, b=many, c=number), answer


def _sharing_problem(rng: random.Random, work: _Working) -> tuple[str, int]:
    name, thing = rng.choice(NAMES), rng.choice(OBJECTS)
    friends, share, used = rng.randint(2, 9), rng.randint(2, 9), rng.randint(1, 5)
    first = rng.randint(2, 60)
    second = _calculate(friends * share, "-", first)
    each = work.do(work.do(first, "+", second), "/", friends)
    story = rng.choice(WORDS["sharings"]).format(
        n=name, t=thing, a=first, b=second, c=friends, d=used
    )
    return story, work.do(each, "-", used)


def make_problem(rng: random.Random) -> Unit:
    make = rng.choice(
        (
            _inventory_problem,
            _inventory_problem,
            _shopping_problem,
            _comparison_problem,
            _rows_problem,
            _sharing_problem,
        )
    )
    work = _Working()
    story, answer = make(rng, work)
    return [(f"Problem: {story}\nSolution:", f" {' '.join(work.steps)} Answer: {answer}.\n")]
