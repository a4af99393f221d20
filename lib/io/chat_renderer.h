// Chats as texts. A model's chat template is a program in Jinja, which a child process of Python
// runs (scripts/render_chat.py): there is no C++ library that renders published templates as
// transformers does.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "lib/base/json_fields.h"

namespace kvtune {

struct Chat {
  std::string record;  // one line of JSON in any form that scripts/render_chat.py names
  std::string where;   // "chats.jsonl, line 3", for messages
};

// Whether a value is a chat: messages under one of the known keys, or the list of them alone.
bool IsChat(const Json& json);

// Renders the chats with the chat template in `model_directory`. The texts hold all special tokens.
// KVTUNE_PYTHON names the interpreter, python3 by default. Says on the log that the template puts
// today's date into its texts where it does. Throws Error, which begins with the chat's place, for
// a chat that cannot be rendered; and where there is no template, no script or no Python with
// jinja2.
std::vector<std::string> RenderChats(std::span<const Chat> chats,
                                     const std::filesystem::path& model_directory);

}  // namespace kvtune
