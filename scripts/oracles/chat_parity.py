"""Checks scripts/render_chat.py on published chat templates against transformers' apply_chat_template: the
texts, and the tokens that kvtune makes of them.

Usage: chat_parity.py --kvtune BINARY --shared DIR     DIR holds chat_templates and tokenizers
"""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import tokenizers  # noqa: E402
import transformers  # noqa: E402

RENDER_CHAT = pathlib.Path(__file__).resolve().parents[1] / "render_chat.py"
TOOL = {"type": "function", "function": {
    "name": "get_weather", "description": "Says <what> it's like & \"more\".",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
                   "required": ["city"]}}}
QUESTION = {"role": "user", "content": "How many bits?"}
CALL = {"id": "abcdef123", "type": "function",
        "function": {"name": "get_weather", "arguments": {"city": "Köln <1>", "days": 2, "wind": None}}}
WEATHER = [{"role": "user", "content": "Weather?"}, {"role": "assistant", "content": "", "tool_calls": [CALL]},
           {"role": "tool", "tool_call_id": "abcdef123", "name": "get_weather", "content": "18 C"},
           {"role": "assistant", "content": "It is 18 C."}]


def with_call(content, arguments) -> list[dict]:
    """WEATHER with the call as OpenAI's clients send it."""
    call = CALL | {"function": CALL["function"] | {"arguments": arguments}}
    return WEATHER[:1] + [{"role": "assistant", "content": content, "tool_calls": [call], "refusal": None}] + WEATHER[2:]


# A record as people have it, and the arguments of apply_chat_template that say the same.
CHATS = [
    ({"messages": [QUESTION]}, {"conversation": [QUESTION], "add_generation_prompt": True}),
    ({"messages": [{"role": "user", "content": "How many  bits?\nSay why."}, {"role": "assistant", "content": "Four."},
                   {"role": "user", "content": "Für 漢字 too? 👍🏽"}, {"role": "assistant", "content": "Yes."}]},
     {"conversation": [{"role": "user", "content": "How many  bits?\nSay why."}, {"role": "assistant", "content": "Four."},
                       {"role": "user", "content": "Für 漢字 too? 👍🏽"}, {"role": "assistant", "content": "Yes."}]}),
    ([QUESTION, {"role": "assistant", "content": "4"}], {"conversation": [QUESTION, {"role": "assistant", "content": "4"}]}),
    ({"custom_id": "1", "method": "POST", "body": {"model": "m", "messages": [QUESTION]}},
     {"conversation": [QUESTION], "add_generation_prompt": True}),
    ({"conversations": [{"from": "human", "value": "How many bits?"}, {"from": "gpt", "value": "Four."}]},
     {"conversation": [QUESTION, {"role": "assistant", "content": "Four."}]}),
    ({"system": "Be brief.", "conversations": [{"from": "human", "value": "How many bits?"}]},
     {"conversation": [{"role": "system", "content": "Be brief."}, QUESTION], "add_generation_prompt": True}),
    ({"messages": [{"role": "system", "content": "Be brief."}, QUESTION]},
     {"conversation": [{"role": "system", "content": "Be brief."}, QUESTION], "add_generation_prompt": True}),
    ({"messages": [{"role": "user", "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]}]},
     {"conversation": [{"role": "user", "content": "one\ntwo"}], "add_generation_prompt": True}),
    ({"messages": [{"role": "system", "content": None}, QUESTION, {"role": "assistant", "content": None}]},
     {"conversation": [{"role": "system", "content": ""}, QUESTION, {"role": "assistant", "content": ""}]}),
    ({"messages": WEATHER, "tools": [TOOL]}, {"conversation": WEATHER, "tools": [TOOL]}),
    ({"messages": with_call(None, json.dumps(CALL["function"]["arguments"])), "tools": [TOOL]},
     {"conversation": WEATHER, "tools": [TOOL]}),
    ({"messages": [QUESTION | {"name": None, "tool_calls": None}], "tools": None},
     {"conversation": [QUESTION], "add_generation_prompt": True}),
    ({"messages": [QUESTION], "chat_template_kwargs": {"enable_thinking": False}},
     {"conversation": [QUESTION], "add_generation_prompt": True, "enable_thinking": False}),
    ({"messages": [QUESTION], "chat_template_kwargs": {"date_string": "1 Jan 2026"}, "add_generation_prompt": False},
     {"conversation": [QUESTION], "add_generation_prompt": False, "date_string": "1 Jan 2026"}),
]
# Template: tokenizer, its beginning of a sequence.
CASES = [
    ("HuggingFaceTB-SmolLM3-3B", "qwen3", None),
    ("Qwen-Qwen2.5-7B-Instruct", "qwen3", None),
    ("Qwen-Qwen3-0.6B", "qwen3", None),
    ("google-gemma-2-2b-it", "llama2", "<s>"),
    ("meta-llama-Llama-3.1-8B-Instruct", "qwen3", "<|begin_of_text|>"),
    ("meta-llama-Llama-3.2-3B-Instruct", "qwen3", "<|begin_of_text|>"),
    ("microsoft-Phi-3.5-mini-instruct", "qwen3", None),
    ("mistralai-Mistral-Nemo-Instruct-2407", "mistral_v0.3", "<s>"),
    ("microsoft-Phi-3.5-mini-instruct", "llama2", "<s>"),
]
# Text, and what the message about it has to hold.
REFUSED = [
    ('{"text": "no chat"}', "found no list of messages"),
    ('{"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}', "image_url"),
    ('{"messages": [{"content": "nobody"}]}', "message 1: found no role"),
]


def run_render_chat(model: pathlib.Path, chats: pathlib.Path, texts: pathlib.Path) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-B", RENDER_CHAT, "--model", model, chats, "--out", texts],
                          capture_output=True, text=True, check=False)


def write_model(folder: pathlib.Path, name: str, tokenizer: str, bos: str | None, shared: pathlib.Path) -> pathlib.Path:
    model = folder / "model"
    model.mkdir()
    shutil.copy(shared / "tokenizers" / tokenizer / "tokenizer.json", model)
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "</s>"} | ({"bos_token": bos} if bos else {})
    (model / "tokenizer_config.json").write_text(json.dumps(config))
    shutil.copy(shared / "chat_templates" / f"{name}.jinja", model / "chat_template.jinja")
    return model


def check(name: str, tokenizer_name: str, bos: str | None, shared: pathlib.Path, kvtune: str) -> tuple[str, int]:
    """What went wrong, or nothing; and how many chats the template takes."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        model = write_model(folder, name, tokenizer_name, bos, shared)
        library = transformers.AutoTokenizer.from_pretrained(model)
        chats, texts = folder / "chats.jsonl", folder / "texts.jsonl"
        accepted = []
        for record, arguments in CHATS:
            try:
                accepted.append((record, library.apply_chat_template(**arguments, tokenize=False)))
            except Exception as error:  # noqa: BLE001: the template refuses the chat
                chats.write_text(json.dumps(record))
                done = run_render_chat(model, chats, texts)
                if done.returncode != 1 or str(error).splitlines()[0] not in done.stderr:
                    return f"found {done.stderr!r}, expected {error}", 0
        chats.write_text("\ufeff" + "".join(json.dumps(record) + "\n" for record, _ in accepted), encoding="utf-8")
        done = run_render_chat(model, chats, texts)
        if done.returncode != 0:
            return done.stderr.strip(), 0
        lines = subprocess.run([kvtune, "tokenize", "--model", model, "--jsonl", texts],
                               capture_output=True, text=True, check=True).stdout.splitlines()
        tokenizer = tokenizers.Tokenizer.from_file(str(model / "tokenizer.json"))
        for (record, expected), text, ids in zip(accepted, texts.read_text().splitlines(), lines, strict=True):
            found = json.loads(text)["text"]
            if found != expected:
                return f"{record}: found {found!r}, expected {expected!r}", 0
            if json.loads(ids) != tokenizer.encode(expected, add_special_tokens=False).ids:
                return f"{record}: found the tokens {ids[:80]}, expected those of {expected!r}", 0
        for text, reason in REFUSED:
            chats.write_text('{"messages": [{"role": "user", "content": "hi"}]}\n' + text + "\n")
            done = run_render_chat(model, chats, texts)
            if done.returncode != 1 or f"{chats}, line 2: " not in done.stderr or reason not in done.stderr:
                return f"found {done.stderr!r} for {text}, expected one line with {reason!r}", 0
    return "", len(accepted)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kvtune", required=True)
    parser.add_argument("--shared", required=True, type=pathlib.Path)
    arguments = parser.parse_args()
    if not (arguments.shared / "chat_templates").is_dir():
        print(f"skipped: found no {arguments.shared / 'chat_templates'}")
        return 77
    failed = False
    for name, tokenizer, bos in CASES:
        problem, count = check(name, tokenizer, bos, arguments.shared, arguments.kvtune)
        failed |= bool(problem)
        print(f"{name:<40}{tokenizer:<14}{problem or f'{count} of {len(CHATS)} chats, the others refused by both'}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
