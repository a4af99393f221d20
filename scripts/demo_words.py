"""Holds the word lists of the demo texts and the types of what a generator makes of them.

The lists and most sentence templates are in calib_data/demo_words.json.
"""

from __future__ import annotations

import json
from pathlib import Path

WORDS = json.loads((Path(__file__).parents[1] / "calib_data" / "demo_words.json").read_text())
NAMES, CITIES, OBJECTS = WORDS["names"], WORDS["cities"], WORDS["objects"]
ATTRIBUTES = WORDS["attributes"]  # For everything that can be known of a person, how it is said, asked and answered.

# What comes before an answer, and the answer: it starts with a space and ends with a newline.
Exchange = tuple[str, str]
# A conversation, snippet, problem, register or story with all its exchanges.
Unit = list[Exchange]
