"""Checks scripts/render_chat.py on published chat templates: known turns, and the tokens that kvtune
makes of the rendered text.

Usage: chat_parity.py --kvtune BINARY --shared DIR     DIR holds chat_templates and tokenizers
"""

import argparse
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

import jinja2
import jinja2.sandbox
import tokenizers

RENDER_CHAT = pathlib.Path(__file__).resolve().parents[1] / "render_chat.py"
CHATS = [
    [{"role": "user", "content": "How many bits?"}],
    [{"role": "user", "content": "How many  bits?\nSay why."}, {"role": "assistant", "content": "Four."},
     {"role": "user", "content": "Für 漢字 too? 👍🏽"}, {"role": "assistant", "content": "Yes."}],
]
# Template: tokenizer, its beginning of a sequence, what the first chat has to hold. The last one's
# tokenizer begins every text with a token that the template does not have: only ids can say that.
CASES = [
    ("HuggingFaceTB-SmolLM3-3B", "qwen3", None, "<|im_start|>user\nHow many bits?<|im_end|>\n<|im_start|>assistant\n"),
    ("Qwen-Qwen2.5-7B-Instruct", "qwen3", None, "<|im_start|>user\nHow many bits?<|im_end|>\n<|im_start|>assistant\n"),
    ("Qwen-Qwen3-0.6B", "qwen3", None, "<|im_start|>user\nHow many bits?<|im_end|>\n<|im_start|>assistant\n"),
    ("google-gemma-2-2b-it", "llama2", "<s>", "<start_of_turn>user\nHow many bits?<end_of_turn>\n<start_of_turn>model\n"),
    ("meta-llama-Llama-3.1-8B-Instruct", "qwen3", "<|begin_of_text|>",
        "<|start_header_id|>user<|end_header_id|>\n\nHow many bits?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"),
    ("meta-llama-Llama-3.2-3B-Instruct", "qwen3", "<|begin_of_text|>",
        "<|start_header_id|>user<|end_header_id|>\n\nHow many bits?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"),
    ("microsoft-Phi-3.5-mini-instruct", "qwen3", None, "<|user|>\nHow many bits?<|end|>\n<|assistant|>\n"),
    ("mistralai-Mistral-Nemo-Instruct-2407", "mistral_v0.3", "<s>", "[INST]How many bits?[/INST]"),
    ("microsoft-Phi-3.5-mini-instruct", "llama2", "<s>", None),
]


def refuse(message):
    raise jinja2.TemplateError(message)


def render_plainly(template: str, messages: list[dict], bos: str | None) -> str:
    """The template through Jinja alone, set up as the templates' documentation says."""
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = lambda form: __import__("datetime").datetime.now().strftime(form)
    names = {"eos_token": "</s>"} | ({"bos_token": bos} if bos else {})
    return environment.from_string(template).render(
        messages=messages, tools=None, add_generation_prompt=messages[-1]["role"] != "assistant", **names)


def run_render_chat(model: pathlib.Path, chats: pathlib.Path, texts: pathlib.Path) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-B", RENDER_CHAT, "--model", model, chats, "--out", texts],
                          capture_output=True, text=True, check=False)


def check(name: str, tokenizer_name: str, bos: str | None, turn: str | None, shared: pathlib.Path, kvtune: str) -> str:
    """What went wrong, or nothing."""
    source = (shared / "chat_templates" / f"{name}.jinja").read_text()
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        model = folder / "model"
        model.mkdir()
        shutil.copy(shared / "tokenizers" / tokenizer_name / "tokenizer.json", model)
        config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "</s>"} | ({"bos_token": bos} if bos else {})
        (model / "tokenizer_config.json").write_text(json.dumps(config))
        (model / "chat_template.jinja").write_text(source)
        chats, texts = folder / "chats.jsonl", folder / "texts.jsonl"
        chats.write_text("".join(json.dumps({"messages": chat}) + "\n" for chat in CHATS))
        done = run_render_chat(model, chats, texts)
        if done.returncode != 0:
            return done.stderr.strip()
        prompts = [json.loads(line) for line in texts.read_text().splitlines()]
        if turn and turn not in prompts[0]["text"]:
            return f"found {prompts[0]['text'][-200:]!r}, expected {turn!r} in it"
        found = [prompt.get("input_ids") for prompt in prompts]
        if turn:
            lines = subprocess.run([kvtune, "tokenize", "--model", model, "--jsonl", texts],
                                   capture_output=True, text=True, check=True).stdout.splitlines()
            found = [json.loads(line) for line in lines]
        tokenizer = tokenizers.Tokenizer.from_file(str(model / "tokenizer.json"))
        for chat, ids in zip(CHATS, found, strict=True):
            expected = tokenizer.encode(render_plainly(source, chat, bos), add_special_tokens=False).ids
            if ids != expected:
                return f"found the tokens {ids[:12]}, expected {expected[:12]}"
        if turn:
            return ""
        chats.write_text('{"messages": [{"role": "user", "content": "hi"}]}\n{"text": "no chat"}\n')
        done = run_render_chat(model, chats, texts)
        if done.returncode != 1 or f"{chats}, line 2: found no list of messages" not in done.stderr:
            return f"found {done.stderr!r} for a line without messages, expected one line that says so"
    return ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kvtune", required=True)
    parser.add_argument("--shared", required=True, type=pathlib.Path)
    arguments = parser.parse_args()
    if not (arguments.shared / "chat_templates").is_dir():
        print(f"skipped: found no {arguments.shared / 'chat_templates'}")
        return 0
    failed = False
    for name, tokenizer, bos, turn in CASES:
        problem = check(name, tokenizer, bos, turn, arguments.shared, arguments.kvtune)
        failed |= bool(problem)
        print(f"{name:<40}{tokenizer:<14}{problem or 'ok'}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
