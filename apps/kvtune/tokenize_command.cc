// kvtune tokenize: lines of text to lines of token ids.
#include <fmt/format.h>

#include <iterator>
#include <nlohmann/json.hpp>

#include "apps/kvtune/commands.h"
#include "apps/kvtune/output.h"
#include "lib/base/file.h"
#include "lib/base/json_fields.h"
#include "lib/base/line_reader.h"
#include "lib/io/model_directory.h"
#include "lib/tokenizer/tokenizer.h"

namespace kvtune {
namespace {

constexpr size_t kBufferBytes = 1 << 20;

// Collects lines and writes them in large pieces; the last one when it is destroyed by Flush.
class LineWriter {
 public:
  void Append(std::span<const int32_t> ids) {
    buffer_ += '[';
    for (size_t i = 0; i < ids.size(); ++i) {
      if (i > 0) buffer_ += ',';
      fmt::format_to(std::back_inserter(buffer_), "{}", ids[i]);
    }
    buffer_ += "]\n";
    if (buffer_.size() >= kBufferBytes) Flush();
  }

  void Flush() {
    PrintExact(buffer_);
    buffer_.clear();
  }

 private:
  std::string buffer_;
};

TokenIds IdsOfLine(const std::string& line, const std::string& where, const Tokenizer& tokenizer,
                   const TokenizeArguments& arguments) {
  SpecialTokens special = arguments.no_special ? SpecialTokens::kOmit : SpecialTokens::kAdd;
  if (!arguments.jsonl) return tokenizer.Encode(line, special);
  const Json json = ParseJsonLine(line, where);
  JsonFields fields(json, where);
  if (fields.Has("add_special_tokens") && !fields.Bool("add_special_tokens")) {
    special = SpecialTokens::kOmit;
  }
  return tokenizer.Encode(fields.String("text"), special);
}

// Every line of `input` but an empty one behind the last line break.
void TokenizeLines(LineReader input, const std::string& source, const Tokenizer& tokenizer,
                   const TokenizeArguments& arguments) {
  LineWriter writer;
  std::string line;
  for (int64_t number = 1; input.Next(line); ++number) {
    const std::string where = fmt::format("{}, line {}", source, number);
    try {
      writer.Append(IdsOfLine(line, where, tokenizer, arguments));
    } catch (const Error& error) {
      writer.Flush();  // the lines before are results
      const std::string message = error.what();
      throw Error(message.starts_with(where) ? message : where + ": " + message, error.exit_code());
    }
  }
  writer.Flush();
}

}  // namespace

ExitCode RunTokenize(const TokenizeArguments& arguments, const Invocation&) {
  RequireModelDirectory(arguments.model);
  const Tokenizer tokenizer = Tokenizer::FromFile(arguments.model / "tokenizer.json");
  if (arguments.file.empty() || arguments.file == "-") {
    TokenizeLines(LineReader::StandardInput(), "standard input", tokenizer, arguments);
  } else {
    const std::string source = arguments.file.string();
    TokenizeLines(LineReader(OpenForReading(arguments.file, "reading"), source), source, tokenizer,
                  arguments);
  }
  return ExitCode::kOk;
}

}  // namespace kvtune
