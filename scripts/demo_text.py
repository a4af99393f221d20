"""Generates the texts of the demo model's training, of its test items and of the bundled prompts.

A document is one or more questions with their one-line answers. The four kinds stress a KV cache in
different ways:

- chat: facts told in earlier turns have to be found again, some corrected on the way;
- code: the result of a tiny Python snippet has to be traced through its assignments;
- mathematics: word problems, worked out step by step;
- long_context: look-ups in a register of records, or of a sentence hidden in a long story.

An answer follows from the text before it alone, so greedy generation up to the newline can be
compared with it character by character. Only the standard library is used, and a seed gives the same
text everywhere. Code and mathematics are in demo_problems.py, word lists in demo_words.py.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from demo_problems import OutOfRange, make_problem, make_snippet
from demo_words import ATTRIBUTES, CITIES, NAMES, OBJECTS, WORDS, Exchange, Unit

KINDS = ("chat", "code", "mathematics", "long_context")

# Splits never share a unit (a conversation, snippet, problem, register or story): each belongs to
# the split that the checksum of its text names, and whatever is not listed here is training text.
BUCKETS = 64
SPLIT_OF_BUCKET = {0: "calibration", 1: "held_out", 2: "selection", 3: "test"}


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
    """Makes a conversation with facts in the first turns and questions in the last ones."""
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


# --- long context ---------------------------------------------------------------------------------


def _register(rng: random.Random) -> Unit:
    """Makes many records, then several look-ups or sums of two looked-up scores."""
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
    """Hides a few sentences worth remembering among many that are not."""
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
# For each kind, the makers of a unit, which are drawn with equal chances, and the most units in a document.
_MAKERS: dict[str, tuple[tuple[_Maker, ...], int]] = {
    "chat": ((_conversation,), 1),
    "code": ((make_snippet,), 4),
    "mathematics": ((make_problem,), 4),
    "long_context": ((_register, _register, _story), 1),
}


def split_of(unit: Unit) -> str:
    return SPLIT_OF_BUCKET.get(zlib.crc32(join(unit).encode()) % BUCKETS, "training")


def _draw(makers: tuple[_Maker, ...], split: str, rng: random.Random) -> Unit:
    """Draws units until one of the split comes up."""
    while True:
        try:
            unit = rng.choice(makers)(rng)
        except OutOfRange:
            continue
        if split_of(unit) == split:
            return unit


def make_document(kind: str, split: str, rng: random.Random) -> Document:
    makers, most_units = _MAKERS[kind]
    unit_count = rng.randint(1, most_units)
    return Document(kind, [_draw(makers, split, rng) for _ in range(unit_count)])


def documents(split: str, seed: int) -> Iterator[Document]:
    """Gives a split's documents without end. The kinds take turns."""
    rng = random.Random(f"{split} {seed}")
    while True:
        for kind in KINDS:
            yield make_document(kind, split, rng)
