"""Seeded text generator behind the demo model, its test items and the bundled prompts.

A document is one or more questions with their one-line answers. The four kinds stress a KV cache in
different ways:

- chat: facts told in earlier turns have to be found again, some corrected on the way;
- code: the result of a tiny Python snippet has to be traced through its assignments;
- mathematics: word problems, worked out step by step;
- long_context: look-ups in a register of records, or of a sentence hidden in a long story.

An answer follows from the text before it alone, so greedy generation up to the newline can be
compared with it character by character. Standard library only; a seed gives the same text
everywhere. The word lists and most sentence templates are in calib_data/demo_words.json.
"""

from __future__ import annotations

import json
import random
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

WORDS = json.loads((Path(__file__).parents[1] / "calib_data" / "demo_words.json").read_text())
NAMES, CITIES, OBJECTS = WORDS["names"], WORDS["cities"], WORDS["objects"]
ATTRIBUTES = WORDS["attributes"]  # what can be known of a person: how it is said, asked, answered

KINDS = ("chat", "code", "mathematics", "long_context")

# Splits never share a unit (a conversation, snippet, problem, register or story): each belongs to
# the split that the checksum of its text names, and whatever is not listed here is training text.
BUCKETS = 64
SPLIT_OF_BUCKET = {0: "calibration", 1: "held_out", 2: "selection", 3: "test"}

LARGEST_NUMBER = 99  # of every intermediate result: two digits are what a 3M model masters


# What comes before an answer, and the answer: it starts with a space and ends with a newline.
Exchange = tuple[str, str]
# A conversation, snippet, problem, register or story with all its exchanges.
Unit = list[Exchange]


@dataclass(frozen=True)
class Document:
    """One complete text of a kind. As a test item, its last answer is the one to be written."""

    kind: str
    units: list[Unit]

    @property
    def exchanges(self) -> list[Exchange]:
        return [exchange for unit in self.units for exchange in unit]

    @property
    def text(self) -> str:
        return join(self.exchanges)

    @property
    def completion(self) -> str:
        return self.exchanges[-1][1]

    @property
    def prompt(self) -> str:
        return self.text.removesuffix(self.completion)


def join(exchanges: list[Exchange]) -> str:
    return "".join(before + answer for before, answer in exchanges)


# --- chat -----------------------------------------------------------------------------------------


def _conversation(rng: random.Random) -> Unit:
    """Facts in the first turns, questions in the last ones."""
    people = rng.sample(NAMES, rng.randint(2, 5))
    relations = dict(zip(people, rng.sample(WORDS["relations"], rng.randint(1, 2))))
    known: dict[tuple[str, int], str] = {}  # (person, index of the attribute) -> value
    statements = [f"My {relation} is called {person}." for person, relation in relations.items()]
    for person in people:
        for index in rng.sample(range(len(ATTRIBUTES)), rng.randint(1, 2)):
            statements.append(_tell(rng, known, person, index))
    thing = rng.choice(OBJECTS)
    owners = rng.sample(people, rng.choice((0, 2, 2, min(3, len(people)))))
    owned = {person: rng.randint(2, 49) for person in owners}
    statements += [f"{person} owns {count} {thing}." for person, count in owned.items()]
    rng.shuffle(statements)
    if rng.random() < 0.3:
        statements.append(f"I was wrong before: {_tell(rng, known, *rng.choice(list(known)))}")

    turns = []
    if rng.random() < 0.5:
        turns.append((rng.choice(WORDS["greetings"]), rng.choice(WORDS["acknowledgements"])))
    while statements:
        taken = rng.randint(1, 3)
        turns.append((" ".join(statements[:taken]), rng.choice(WORDS["acknowledgements"])))
        del statements[:taken]
        if rng.random() < 0.15:
            turns.append(rng.choice(WORDS["small_talk"]))
    told = "".join(f"User: {user}\nAssistant: {assistant}\n" for user, assistant in turns)

    questions = [
        _ask_sum(rng, owned, thing)
        if owned and rng.random() < 0.3
        else _ask_fact(rng, known, relations)
        for _ in range(rng.randint(1, 3))
    ]
    return _after(told, [(f"User: {ask}\nAssistant:", answer) for ask, answer in questions])


def _after(context: str, questions: list[tuple[str, str]]) -> Unit:
    """Puts the context before the first question."""
    exchanges = [(question, f" {answer}\n") for question, answer in questions]
    return [(context + exchanges[0][0], exchanges[0][1]), *exchanges[1:]]


def _tell(rng: random.Random, known: dict[tuple[str, int], str], person: str, index: int) -> str:
    """States a new value of the attribute and notes it in `known`."""
    attribute = ATTRIBUTES[index]
    rooms = attribute["values"] == "room_numbers"
    value = str(rng.randint(100, 399)) if rooms else rng.choice(WORDS[attribute["values"]])
    known[person, index] = value
    return rng.choice(attribute["statements"]).format(p=person, v=value)


def _ask_sum(rng: random.Random, owned: dict[str, int], thing: str) -> tuple[str, str]:
    one, two = rng.sample(list(owned), 2)
    first, second = owned[one], owned[two]
    return (
        f"How many {thing} do {one} and {two} own together?",
        f"{one} owns {first}, {two} owns {second}, {first} + {second} = {first + second}.",
    )


def _ask_fact(
    rng: random.Random, known: dict[tuple[str, int], str], relations: dict[str, str]
) -> tuple[str, str]:
    """Asks for a person by name, or by the relation that some earlier turn told."""
    person, index = rng.choice(list(known))
    question = rng.choice(ATTRIBUTES[index]["questions"])
    answer = ATTRIBUTES[index]["answer"].format(p=person, v=known[person, index])
    if person in relations and rng.random() < 0.5:
        relation = relations[person]
        return question.format(p=f"my {relation}"), f"Your {relation} is {person}. {answer}"
    return question.format(p=person), answer


# --- code -----------------------------------------------------------------------------------------


class _OutOfRange(Exception):
    """An intermediate result that the generator does not want; the caller draws again."""


def _calculate(left: int, operator: str, right: int) -> int:
    """The result, if it and both operands are whole and from 0 to LARGEST_NUMBER."""
    if operator == "/" and (right == 0 or left % right):
        raise _OutOfRange
    quotient = left // max(right, 1)
    result = {"+": left + right, "-": left - right, "*": left * right, "/": quotient}[operator]
    if not all(0 <= number <= LARGEST_NUMBER for number in (left, right, result)):
        raise _OutOfRange
    return result


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


def _snippet(rng: random.Random) -> Unit:
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


def _problem(rng: random.Random) -> Unit:
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


# --- long context ---------------------------------------------------------------------------------


def _register(rng: random.Random) -> Unit:
    """Many records, then several look-ups, or sums of two looked-up scores."""
    style = rng.choice(WORDS["registers"])
    records = [
        {
            "n": f"{first} {rng.choice(WORDS['surnames'])}",
            "v": rng.randint(100, 999),
            "s": rng.randint(10, 49),
            "c": rng.choice(CITIES),
        }
        for first in rng.sample(NAMES, rng.randint(6, 28))
    ]
    lines = [f"{style['title']}, {len(records)} entries.\n"]
    lines += [style["record"].format(**record) + "\n" for record in records]
    pairs = []
    for _ in range(rng.randint(2, 4)):
        one, two = rng.sample(records, 2)
        if "{s}" in style["record"] and rng.random() < 0.5:
            first, second = one["s"], two["s"]
            question = f"How many points did {one['n']} and {two['n']} score together?"
            sum_line = f"{first} + {second} = {first + second}."
            pairs.append((question, f"{one['n']} {first}, {two['n']} {second}, {sum_line}"))
        else:
            pairs.append((style["question"].format(**one), style["answer"].format(**one)))
    return _with_questions("".join(lines), pairs)


def _story(rng: random.Random) -> Unit:
    """A few sentences worth remembering among many that are not."""
    sentences = [
        rng.choice(WORDS["fillers"]).format(
            city=rng.choice(CITIES),
            job=rng.choice(WORDS["jobs"]),
            count=rng.randint(2, 99),
            thing=rng.choice(OBJECTS),
            month=rng.choice(WORDS["months"]),
            colour=rng.choice(WORDS["colours"]),
            food=rng.choice(WORDS["foods"]),
            instrument=rng.choice(WORDS["instruments"]),
        )
        for _ in range(rng.randint(6, 26))
    ]
    pairs = []
    for name in rng.sample(NAMES, rng.randint(2, 5)):
        thing, place = rng.choice(WORDS["treasures"]), rng.choice(WORDS["hiding_places"])
        answer = f"The {thing} of {name} is hidden in {place}."
        sentences.insert(rng.randint(0, len(sentences)), answer)
        pairs.append((f"Where is the {thing} of {name} hidden?", answer))
    asked = rng.sample(pairs, rng.randint(1, min(3, len(pairs))))
    return _with_questions(" ".join(sentences) + "\n", asked)


def _with_questions(context: str, pairs: list[tuple[str, str]]) -> Unit:
    return _after(context, [(f"Question: {ask}\nAnswer:", answer) for ask, answer in pairs])


# --- documents ------------------------------------------------------------------------------------

_Maker = Callable[[random.Random], Unit]
# kind -> (makers of a unit, drawn with equal chances; most units in a document)
_MAKERS: dict[str, tuple[tuple[_Maker, ...], int]] = {
    "chat": ((_conversation,), 1),
    "code": ((_snippet,), 4),
    "mathematics": ((_problem,), 4),
    "long_context": ((_register, _register, _story), 1),
}


def split_of(unit: Unit) -> str:
    return SPLIT_OF_BUCKET.get(zlib.crc32(join(unit).encode()) % BUCKETS, "training")


def _draw(makers: tuple[_Maker, ...], split: str, rng: random.Random) -> Unit:
    """Draws until a unit of the split comes up."""
    while True:
        try:
            unit = rng.choice(makers)(rng)
        except _OutOfRange:
            continue
        if split_of(unit) == split:
            return unit


def make_document(kind: str, split: str, rng: random.Random) -> Document:
    makers, most_units = _MAKERS[kind]
    unit_count = rng.randint(1, most_units)
    return Document(kind, [_draw(makers, split, rng) for _ in range(unit_count)])


def documents(split: str, seed: int) -> Iterator[Document]:
    """An endless stream of a split's documents, the kinds in turn."""
    rng = random.Random(f"{split} {seed}")
    while True:
        for kind in KINDS:
            yield make_document(kind, split, rng)
