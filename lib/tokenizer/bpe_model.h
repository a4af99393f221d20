// Byte-pair encoding: each character becomes a token, and then the best-ranked pair of neighbours
// merges, again and again (Sennrich et al. 2016, "Neural Machine Translation of Rare Words with
// Subword Units").
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/tokenizer/merge_table.h"
#include "lib/tokenizer/model.h"
#include "lib/tokenizer/vocabulary.h"
#include "lib/tokenizer/word_cache.h"

namespace kvtune::tokenizer {

struct BpeOptions {
  std::optional<std::string> unknown_token;  // the token of characters that have none
  bool fuses_unknown = false;                // neighbouring unknown characters become one token
  bool uses_byte_fallback = false;  // an unknown character becomes its bytes: <0xE2> <0x82> ...
  bool ignores_merges = false;  // a word that is a token stays that token, whatever the merges say
};

// Const methods may run at the same time. Each call borrows a workspace (a word cache and buffers)
// from a pool behind a mutex. So a text takes one lock and a word none, and there are only as many
// caches as threads that ever ran at the same time.
class BpeModel : public Model {
 public:
  // `vocabulary` must outlive the model. Throws Error, which names `where`.
  BpeModel(const Vocabulary& vocabulary, const std::vector<MergeRule>& merges,
           const BpeOptions& options, const std::string& where);
  ~BpeModel() override;

  void AppendIds(const WordList& list, std::vector<int32_t>& ids) const override;

 private:
  struct Symbol;
  struct Workspace;
  class Lease;

  void LoadMerges(const std::vector<MergeRule>& merges, const std::string& where);
  void LoadCharacters();

  void AppendWordIds(std::string_view word, Workspace& workspace, std::vector<int32_t>& ids) const;
  void PutSymbols(std::string_view word, Workspace& workspace) const;
  static void SayThatIsLeftOut(std::string_view character, char32_t value);
  bool PutBytes(std::string_view character, Workspace& workspace) const;
  void MergeSymbols(Workspace& workspace) const;

  const Vocabulary& vocabulary_;
  BpeOptions options_;
  MergeTable merges_;
  std::vector<int32_t> character_ids_;  // by code point
  std::array<int32_t, 256> byte_ids_;   // of the tokens <0x00> to <0xFF>
  int32_t unknown_id_ = Vocabulary::kNone;

  mutable std::mutex pool_mutex_;
  mutable std::vector<std::unique_ptr<Workspace>> pool_;
};

}  // namespace kvtune::tokenizer
