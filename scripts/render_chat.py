#!/usr/bin/env python3
"""Renders chat prompts to text with the model's own chat template.

    scripts/render_chat.py --model DIR chats.jsonl --out texts.jsonl

A line of the input is {"messages": [{"role": ..., "content": ...}, ...]}, with "tools" if the template
takes them. A line of the output is {"text": ...}, which `kvtune --prompts` reads. A chat that does not end
with the assistant's words gets the template's generation prompt. The text leaves out what the tokenizer
puts in front by itself (the beginning of the sequence). Where no text gives the template's tokens, the line
is {"input_ids": [...]}. The script needs transformers, which knows the template language.
"""

import argparse
import json
import os
import sys
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

try:
    import tokenizers
    import transformers
except ImportError as error:
    sys.exit(f"render_chat: found no package {error.name}: pip install transformers==5.17.0")


def prompt_of(rendered: str, tokenizer: tokenizers.Tokenizer, bos: str | None) -> dict:
    """The line whose tokens, with the special ones that the tokenizer adds, are those of the template."""
    ids = tokenizer.encode(rendered, add_special_tokens=False).ids
    texts = [rendered] + ([rendered.removeprefix(bos)] if bos else [])
    for text in texts:
        if tokenizer.encode(text, add_special_tokens=True).ids == ids:
            return {"text": text}
    return {"input_ids": ids}


def render(line: str, template: transformers.PreTrainedTokenizerBase, tokenizer: tokenizers.Tokenizer) -> dict:
    chat = json.loads(line)
    if not isinstance(chat, dict) or not isinstance(chat.get("messages"), list) or not chat["messages"]:
        raise ValueError('found no list of messages, expected {"messages": [...]}')
    rendered = template.apply_chat_template(
        chat["messages"], tools=chat.get("tools"), tokenize=False,
        add_generation_prompt=chat["messages"][-1].get("role") != "assistant")
    return prompt_of(rendered, tokenizer, template.bos_token)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, type=Path, metavar="DIR")
    parser.add_argument("chats", type=Path, metavar="FILE")
    parser.add_argument("--out", required=True, type=Path, metavar="FILE")
    arguments = parser.parse_args()
    try:
        tokenizer = tokenizers.Tokenizer.from_file(str(arguments.model / "tokenizer.json"))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        template = transformers.AutoTokenizer.from_pretrained(arguments.model)
        if not template.chat_template:
            raise ValueError("found no chat template, expected one in the model's folder")
    except Exception as error:  # noqa: BLE001: tokenizers and transformers raise many types
        sys.exit(f"render_chat: {arguments.model}: {str(error).splitlines()[0]}")
    prompts = []
    for number, line in enumerate(arguments.chats.read_text(encoding="utf-8").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            prompts.append(render(line, template, tokenizer))
        except Exception as error:  # noqa: BLE001: a template raises what it likes
            sys.exit(f"render_chat: {arguments.chats}, line {number}: {(str(error) or repr(error)).splitlines()[0]}")
    arguments.out.write_text("".join(json.dumps(prompt, ensure_ascii=False) + "\n" for prompt in prompts),
                             encoding="utf-8")
    print(f"{len(prompts)} prompts in {arguments.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
