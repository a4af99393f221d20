#!/usr/bin/env python3
"""Renders chats to text with the model's own chat template, as transformers does.

    scripts/render_chat.py --model DIR chats.jsonl --out texts.jsonl

kvtune itself runs this script for chats in prompt files; by hand it shows what they become. A chat is one
of these, one a line or in one array:

    {"messages": [{"role": ..., "content": ...}, ...]}      OpenAI's form; also "tools", "documents",
                                                            "chat_template_kwargs", "add_generation_prompt"
    {"body": {"messages": ...}}                             a line of OpenAI's batch files
    {"conversations": [{"from": "human", "value": ...}]}    ShareGPT; also "system"
    [{"role": ..., "content": ...}, ...]                    the messages alone

Text parts of a content are joined by newlines and other parts refused; a content of null becomes the empty
text; "arguments" of tool calls that are JSON in a string become an object. A chat that does not end with
the assistant's words gets the template's generation prompt. A line of the output is {"text": ...,
"add_special_tokens": false}: the template has put all special tokens into the text. Templates that ask for
the date get that of SOURCE_DATE_EPOCH where it is set, otherwise today's.

--lines reads chats from stdin, one a line, and answers each with a line, {"error": ...} where it cannot be
rendered. The script needs jinja2 (python3-jinja2), 3.1 or newer.
"""

import argparse
import datetime
import gzip
import json
import os
import sys
from pathlib import Path

try:
    import jinja2
    import jinja2.ext
    import jinja2.meta
    import jinja2.sandbox
except ImportError:
    jinja2 = None

SPECIAL_TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
NO_PACKAGE = 3  # the exit code of --lines without jinja2
# These have no special tokens but those of the files. Other classes have defaults of their own.
PLAIN_CLASSES = (None, "PreTrainedTokenizerFast", "TokenizersBackend")
TEXT_PARTS = ("text", "input_text", "output_text")
# ShareGPT's speakers, and those of its descendants.
ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "chatgpt": "assistant",
         "bing": "assistant", "bard": "assistant", "model": "assistant", "system": "system", "tool": "tool",
         "observation": "tool", "function_response": "tool"}


class ChatError(Exception):
    """What was found and what was expected."""


class NoPackageError(ChatError):
    """The interpreter lacks a package; another one may have it."""


def read_json(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8-sig")) if path.is_file() else {}


class Renderer:
    """The chat template of a model."""

    def __init__(self, model: Path):
        config = read_json(model / "tokenizer_config.json")
        self.sources = self._sources(model, config)
        if not self.sources:
            raise ChatError(f"found no chat template, expected one in {model}")
        if jinja2 is None:
            raise NoPackageError("found no package jinja2, expected it: apt install python3-jinja2, or pip install jinja2")
        self.tokens, self.stated = self._special_tokens(model, config)
        self.tokenizer_class = config.get("tokenizer_class")
        self.environment = self._environment()
        self.compiled = {}
        self.asked_for_the_date = False

    @staticmethod
    def _sources(model: Path, config: dict) -> dict[str, str]:
        """The templates by name. A file of its own takes the place of all in tokenizer_config.json."""
        if (model / "chat_template.jinja").is_file():
            sources = {"default": (model / "chat_template.jinja").read_text(encoding="utf-8")}
            for extra in sorted((model / "additional_chat_templates").glob("*.jinja")):
                sources[extra.stem] = extra.read_text(encoding="utf-8")
            return sources
        found = config.get("chat_template") or read_json(model / "chat_template.json").get("chat_template")
        if isinstance(found, list):
            return {entry["name"]: entry["template"] for entry in found}
        return {"default": found} if found else {}

    @staticmethod
    def _special_tokens(model: Path, config: dict) -> tuple[dict[str, str], set[str]]:
        """The tokens that templates may name, and the names that the files speak of at all."""
        values = {key: config[key] for key in SPECIAL_TOKENS if key in config}
        if isinstance(config.get("extra_special_tokens"), dict):
            values |= config["extra_special_tokens"]
        if "added_tokens_decoder" not in config:
            legacy = read_json(model / "special_tokens_map.json")
            values |= {key: legacy[key] for key in SPECIAL_TOKENS if key in legacy}
        contents = {key: value["content"] if isinstance(value, dict) else value for key, value in values.items()}
        return {key: value for key, value in contents.items() if value is not None}, set(contents)

    def _environment(self) -> "jinja2.sandbox.ImmutableSandboxedEnvironment":
        class Generation(jinja2.ext.Extension):
            """{% generation %} marks the assistant's words for training; it changes no text."""

            tags = {"generation"}

            def parse(self, parser):
                line = next(parser.stream).lineno
                body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
                return jinja2.nodes.CallBlock(self.call_method("_words"), [], [], body).set_lineno(line)

            def _words(self, caller):
                return caller()

        def refuse(message):
            raise jinja2.TemplateError(message)

        def to_json(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
            return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

        environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])
        environment.filters["tojson"] = to_json
        environment.globals["raise_exception"] = refuse
        environment.globals["strftime_now"] = self._date
        return environment

    def _date(self, form: str) -> str:
        self.asked_for_the_date = True
        epoch = os.environ.get("SOURCE_DATE_EPOCH")
        now = datetime.datetime.fromtimestamp(int(epoch), datetime.timezone.utc) if epoch else datetime.datetime.now()
        return now.strftime(form)

    def _template(self, has_tools: bool) -> "jinja2.Template":
        name = "tool_use" if has_tools and "tool_use" in self.sources else "default"
        if name not in self.sources:
            raise ChatError(f"found the chat templates {', '.join(sorted(self.sources))}, expected one named default")
        if name not in self.compiled:
            named = jinja2.meta.find_undeclared_variables(self.environment.parse(self.sources[name]))
            unknown = sorted((named & set(SPECIAL_TOKENS)) - self.stated)
            if unknown and self.tokenizer_class not in PLAIN_CLASSES:
                raise ChatError(f"found a chat template with {unknown[0]}, expected tokenizer_config.json to say "
                                f"which it is, because {self.tokenizer_class} has one of its own")
            self.compiled[name] = self.environment.from_string(self.sources[name])
        return self.compiled[name]

    def render(self, record) -> str:
        chat = chat_of(record)
        messages = [plain_message(message, number) for number, message in enumerate(chat["messages"], start=1)]
        tools = chat.get("tools")
        options = dict(chat.get("chat_template_kwargs") or {})
        options.setdefault("add_generation_prompt",
                           chat.get("add_generation_prompt", messages[-1]["role"] != "assistant"))
        if chat.get("documents") is not None:
            options["documents"] = chat["documents"]
        return self._template(tools is not None).render(
            **{"documents": None} | self.tokens | options | {"messages": messages, "tools": tools})


def chat_of(record) -> dict:
    """The chat in OpenAI's form."""
    if isinstance(record, list):
        record = {"conversations" if record and "from" in record[0] else "messages": record}
    if not isinstance(record, dict):
        raise ChatError("found no object, expected a chat")
    if isinstance(record.get("body"), dict):
        record = record["body"]
    for key in ("messages", "conversations", "conversation"):
        messages = record.get(key)
        if messages is not None:
            break
    if not isinstance(messages, list) or not messages:
        raise ChatError('found no list of messages, expected {"messages": [...]}')
    if record.get("continue_final_message"):
        raise ChatError('found "continue_final_message", expected none: kvtune scores whole texts')
    messages = [of_sharegpt(message) for message in messages]
    system = record.get("system")
    if key != "messages" and isinstance(system, str) and system and messages[0].get("role") != "system":
        messages = [{"role": "system", "content": system}] + messages
    tools = record.get("tools")
    if isinstance(tools, str):
        tools = json.loads(tools) if tools.strip() else None
    return record | {"messages": messages, "tools": tools or None}


def of_sharegpt(message) -> dict:
    if not isinstance(message, dict):
        raise ChatError(f"found a message of {type(message).__name__}, expected an object with role and content")
    if "from" not in message or "role" in message:
        return message
    speaker = message["from"]
    if speaker not in ROLES:
        raise ChatError(f'found a message "from" {speaker!r}, expected one of {", ".join(sorted(ROLES))}')
    return {"role": ROLES[speaker], "content": message.get("value")}


def plain_message(message: dict, number: int) -> dict:
    """The message as templates expect it. Keys of null say nothing, and some templates ask whether they are there."""
    if not isinstance(message.get("role"), str):
        raise ChatError(f"message {number}: found no role, expected one")
    plain = {key: value for key, value in message.items() if value is not None}
    plain["content"] = text_of(message.get("content"), number)
    if not plain.get("tool_calls"):
        plain.pop("tool_calls", None)
    else:
        plain["tool_calls"] = [with_object_arguments(call, number) for call in plain["tool_calls"]]
    return plain


def text_of(content, number: int):
    if content is None:
        return ""
    if not isinstance(content, list):
        return content
    texts = []
    for part in content:
        kind = part.get("type", "text") if isinstance(part, dict) else "text"
        text = part.get("text") if isinstance(part, dict) else part
        if kind not in TEXT_PARTS or not isinstance(text, str):
            raise ChatError(f"message {number}: found a part of the type {kind}, expected text: "
                            "images and the like are no part of the measurement")
        texts.append(text)
    return "\n".join(texts)


def with_object_arguments(call, number: int) -> dict:
    function = call.get("function") if isinstance(call, dict) else None
    arguments = function.get("arguments") if isinstance(function, dict) else None
    if not isinstance(arguments, str):
        return call
    try:
        read = json.loads(arguments) if arguments.strip() else {}
    except ValueError as error:
        raise ChatError(f"message {number}: found the arguments {arguments!r}, expected JSON") from error
    return call | {"function": function | {"arguments": read}}


def reason_of(error: Exception) -> str:
    return (str(error) or repr(error)).splitlines()[0]


def answer(renderer: Renderer, line: str) -> dict:
    renderer.asked_for_the_date = False
    try:
        record = {"text": renderer.render(json.loads(line)), "add_special_tokens": False}
    except Exception as error:  # noqa: BLE001: a template raises what it likes
        return {"error": reason_of(error)}
    return record | ({"has_date": True} if renderer.asked_for_the_date else {})


def print_line(record: dict) -> None:
    print(json.dumps(record, ensure_ascii=True), flush=False)


def answer_lines(model: Path) -> int:
    try:
        renderer = Renderer(model)
    except Exception as error:  # noqa: BLE001
        print_line({"error": reason_of(error)})
        return NO_PACKAGE if isinstance(error, NoPackageError) else 1
    for line in sys.stdin.buffer:
        print_line(answer(renderer, line.decode("utf-8")))
    return 0


def records_of(path: Path) -> list[tuple[str, str]]:
    """Every chat of the file as a line of JSON, with its place."""
    data = path.read_bytes()
    text = (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode("utf-8-sig")
    try:
        whole = json.loads(text)
    except ValueError:
        return [(line, f"line {number}") for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
    is_list = isinstance(whole, list) and not (whole and isinstance(whole[0], dict) and {"role", "from"} & set(whole[0]))
    return [(json.dumps(record), f"entry {number}") for number, record in enumerate(whole if is_list else [whole], start=1)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, type=Path, metavar="DIR")
    parser.add_argument("--lines", action="store_true")
    parser.add_argument("chats", nargs="?", type=Path, metavar="FILE")
    parser.add_argument("--out", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    if arguments.lines:
        return answer_lines(arguments.model)
    if arguments.chats is None or arguments.out is None:
        parser.error("expected FILE and --out FILE, or --lines")
    try:
        renderer = Renderer(arguments.model)
    except Exception as error:  # noqa: BLE001
        sys.exit(f"render_chat: {arguments.model}: {reason_of(error)}")
    prompts, has_date = [], False
    for line, where in records_of(arguments.chats):
        record = answer(renderer, line)
        if "error" in record:
            sys.exit(f"render_chat: {arguments.chats}, {where}: {record['error']}")
        has_date |= record.pop("has_date", False)
        prompts.append(record)
    arguments.out.write_text("".join(json.dumps(prompt, ensure_ascii=False) + "\n" for prompt in prompts),
                             encoding="utf-8")
    print(f"{len(prompts)} prompts in {arguments.out}" + (", with today's date in them" if has_date else ""))
    return 0


if __name__ == "__main__":
    sys.exit(main())
