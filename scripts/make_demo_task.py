"""Writes a task file for the bundled demo model: the documents of its test split, as `kvtune evaluate --task` reads them.

    make_demo_task.py FILE [--items N]

An item is right if the whole line that the model writes is the expected one, as in the table of calib_data/demo_model.
No unit of a test document is part of the training, calibration or held-out texts (see demo_text.py). Only the standard
library is used.
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path

from demo_text import documents

SEED = 1  # that of the model's own table
# More tokens than the longest answer of the test split has.
MAX_NEW_TOKENS = 128


def make_task(items: int) -> dict[str, object]:
    return {
        "schema_version": 1,
        "name": "demo documents",
        "protocol": "custom",
        "items": [{"prompt": document.prompt, "answer": document.completion.strip(), "kind": document.kind}
                  for document in itertools.islice(documents("test", SEED), items)],
        "stop": ["\n"],
        "max_new_tokens": MAX_NEW_TOKENS,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Write a task file for the bundled demo model.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--items", type=int, default=400)
    arguments = parser.parse_args()
    arguments.file.write_text(json.dumps(make_task(arguments.items), indent=1) + "\n")


if __name__ == "__main__":
    main()
