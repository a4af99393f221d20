"""Generates the texts of calib_data/agents.jsonl: calls of tools with JSON, and long conversations.

Both fail first when a cache loses precision: a call has to copy names, numbers and brackets exactly from a
schema or a result far above, and a long conversation has to keep what was said and corrected turns ago.

- tool_call: a system text with the schemas of some functions, a request, the call as JSON, its result as JSON,
  and the answer; some requests need two calls, some lack a value and are asked back;
- multi_turn: a planning conversation of many turns about one table of facts, which the user changes on the way,
  with a summary as JSON at the end.

All of it is our own: templates below, filled from calib_data/demo_words.json by a seeded generator. Only the
standard library is used.
"""

from __future__ import annotations

import json
import random

from demo_words import CITIES, NAMES, OBJECTS, WORDS

KINDS = ("tool_call", "multi_turn")


def make_text(kind: str, rng: random.Random) -> str:
    return {"tool_call": _tool_call, "multi_turn": _multi_turn}[kind](rng)


# --- tool calls ------------------------------------------------------------------------------------


def _schema(name: str, about: str, /, **fields: str) -> dict:
    return {
        "name": name,
        "description": about,
        "parameters": {
            "type": "object",
            "properties": {field: {"type": kind} for field, kind in fields.items()},
            "required": list(fields),
        },
    }


SCHEMAS = (
    _schema("find_train", "Trains between two cities on a day.", origin="string", destination="string",
            month="string", day="integer"),
    _schema("book_seat", "Books seats in a train.", train_id="string", passenger="string", seats="integer"),
    _schema("count_stock", "How many pieces of a thing a shop has.", shop="string", item="string"),
    _schema("order_items", "Orders pieces for a shop.", shop="string", item="string", quantity="integer",
            express="boolean"),
    _schema("find_person", "Address and telephone of a person.", name="string", city="string"),
    _schema("add_event", "Puts an event into a calendar.", owner="string", title="string", month="string",
            day="integer", hour="integer"),
)


def _call(name: str, /, **arguments: object) -> str:
    return json.dumps({"name": name, "arguments": arguments})


def _identifier(rng: random.Random) -> str:
    return "".join(rng.choice("ABCDEFGHKLMNPRSTUVWXYZ") for _ in range(2)) + f"-{rng.randint(1000, 9999)}"


def _train(rng: random.Random) -> list[tuple[str, str]]:
    person, (origin, destination) = rng.choice(NAMES), rng.sample(CITIES, 2)
    month, day, seats = rng.choice(WORDS["months"]), rng.randint(1, 28), rng.randint(1, 6)
    trains = [{"train_id": _identifier(rng), "departure": f"{hour:02}:{rng.randint(0, 11) * 5:02}",
               "price": rng.randint(19, 149), "free_seats": rng.randint(0, 60)}
              for hour in sorted(rng.sample(range(5, 22), rng.randint(2, 4)))]
    fitting = [train for train in trains if train["free_seats"] >= seats]
    turns = [
        ("User", f"Please book {seats} seats from {origin} to {destination} on {day} {month} for {person}, in the "
                 "cheapest train that has room."),
        ("Call", _call("find_train", origin=origin, destination=destination, month=month, day=day)),
        ("Result", json.dumps({"trains": trains})),
    ]
    if not fitting:
        return turns + [("Assistant", f"No train on {day} {month} has {seats} free seats.")]
    best = min(fitting, key=lambda train: train["price"])
    total = best["price"] * seats
    return turns + [
        ("Call", _call("book_seat", train_id=best["train_id"], passenger=person, seats=seats)),
        ("Result", json.dumps({"status": "booked", "train_id": best["train_id"], "total": total})),
        ("Assistant", f"I booked {seats} seats for {person} in {best['train_id']}, which leaves {origin} at "
                      f"{best['departure']}. They cost {seats} * {best['price']} = {total}."),
    ]


def _stock(rng: random.Random) -> list[tuple[str, str]]:
    shop, item = f"{rng.choice(WORDS['surnames'])} {rng.choice(CITIES)}", rng.choice(OBJECTS)
    there, wanted = rng.randint(0, 60), rng.randint(20, 90)
    express = rng.random() < 0.5
    turns = [
        ("User", f"The shop {shop} should have {wanted} {item}. Order what is missing"
                 f"{', as an express delivery' if express else ''}."),
        ("Call", _call("count_stock", shop=shop, item=item)),
        ("Result", json.dumps({"shop": shop, "item": item, "pieces": there,
                               "shelf": f"{rng.choice('ABCDEF')}{rng.randint(1, 40)}"})),
    ]
    if there >= wanted:
        return turns + [("Assistant", f"{shop} has {there} {item} already, so nothing is missing.")]
    missing = wanted - there
    return turns + [
        ("Call", _call("order_items", shop=shop, item=item, quantity=missing, express=express)),
        ("Result", json.dumps({"status": "ordered", "order_id": _identifier(rng), "quantity": missing})),
        ("Assistant", f"{shop} has {there} {item}, and {wanted} - {there} = {missing} are ordered."),
    ]


def _event(rng: random.Random) -> list[tuple[str, str]]:
    owner, guest = rng.sample(NAMES, 2)
    city, month = rng.choice(CITIES), rng.choice(WORDS["months"])
    day, hour = rng.randint(1, 28), rng.randint(8, 19)
    street = f"{rng.randint(1, 180)} {rng.choice(WORDS['surnames'])} Street"
    title = f"Meet {guest}, {street}"
    return [
        ("User", f"Put a meeting with {guest} into the calendar of {owner}, on {day} {month}, at the address of "
                 f"{guest} in {city}."),
        ("Assistant", "At what hour does it begin?"),
        ("User", f"At {hour}."),
        ("Call", _call("find_person", name=guest, city=city)),
        ("Result", json.dumps({"name": guest, "city": city, "address": street,
                               "telephone": f"0{rng.randint(100, 999)} {rng.randint(10000, 99999)}"})),
        ("Call", _call("add_event", owner=owner, title=title, month=month, day=day, hour=hour)),
        ("Result", json.dumps({"status": "added", "event_id": _identifier(rng)})),
        ("Assistant", f"{owner} meets {guest} on {day} {month} at {hour}:00, at {street} in {city}."),
    ]


TASKS = {_train: ("find_train", "book_seat"), _stock: ("count_stock", "order_items"),
         _event: ("find_person", "add_event")}


def _tool_call(rng: random.Random) -> str:
    tasks = rng.sample(list(TASKS), rng.choice((1, 1, 2)))
    needed = [name for task in tasks for name in TASKS[task]]
    schemas = [schema for schema in SCHEMAS if schema["name"] in needed]
    if len(tasks) == 1:
        schemas.append(rng.choice([schema for schema in SCHEMAS if schema["name"] not in needed]))
    rng.shuffle(schemas)
    lines = ["System: Answer with the functions below. A call is one line of JSON with name and arguments.",
             *(json.dumps(schema) for schema in schemas)]
    for task in tasks:
        lines += [f"{speaker}: {text}" for speaker, text in task(rng)]
    return "\n".join(lines) + "\n"


# --- long conversations ----------------------------------------------------------------------------


def _multi_turn(rng: random.Random) -> str:
    people = rng.sample(NAMES, rng.randint(4, 6))
    city, month = rng.choice(CITIES), rng.choice(WORDS["months"])
    guests = {person: {"room": rng.randint(100, 399), "nights": rng.randint(1, 7),
                       "food": rng.choice(WORDS["foods"])} for person in people}
    turns = [("System", f"You plan the stay of a group in {city} in {month}. Keep every detail, and use the latest."),
             ("User", rng.choice(WORDS["greetings"]))]
    turns.append(("Assistant", "Please tell me about the guests."))
    for person, guest in guests.items():
        turns.append(("User", f"{person} has room {guest['room']} for {guest['nights']} nights and would like "
                              f"{guest['food']}."))
        turns.append(("Assistant", f"{person}: room {guest['room']}, {guest['nights']} nights, {guest['food']}."))
        if rng.random() < 0.3:
            turns += [("User" if i == 0 else "Assistant", text)
                      for i, text in enumerate(rng.choice(WORDS["small_talk"]))]
    for _ in range(rng.randint(3, 5)):
        person = rng.choice(people)
        guest = guests[person]
        field = rng.choice(("room", "nights", "food"))
        old = guest[field]
        guest[field] = {"room": rng.randint(100, 399), "nights": rng.randint(1, 7),
                        "food": rng.choice(WORDS["foods"])}[field]
        turns.append(("User", f"A change: the {field} of {person} is not {old} but {guest[field]}."))
        turns.append(("Assistant", f"{person}: room {guest['room']}, {guest['nights']} nights, {guest['food']}."))
        asked = rng.choice(people)
        turns.append(("User", f"What does {asked} eat, and in which room?"))
        turns.append(("Assistant", f"{asked} eats {guests[asked]['food']} in room {guests[asked]['room']}."))
    total = sum(guest["nights"] for guest in guests.values())
    turns.append(("User", "How many nights are that in all?"))
    turns.append(("Assistant", " + ".join(str(guest["nights"]) for guest in guests.values()) + f" = {total}."))
    turns.append(("User", "Write everything as JSON, by name."))
    turns.append(("Assistant", json.dumps({"city": city, "month": month, "guests": guests})))
    return "".join(f"{speaker}: {text}\n" for speaker, text in turns)
