#include "lib/tokenizer/bpe_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <mutex>
#include <nlohmann/json.hpp>
#include <utility>

#include "lib/base/error.h"
#include "lib/base/log.h"
#include "lib/tokenizer/component_json.h"
#include "lib/tokenizer/unicode.h"

// The behaviour follows `tokenizers` 0.23 (tokenizers/src/models/bpe/model.rs, word.rs).

namespace kvtune::tokenizer {

// A token of a word while pairs merge. The tokens form a linked list by their indices.
struct BpeModel::Symbol {
  int32_t id;  // kNone after it was merged into its left neighbour
  int32_t previous;
  int32_t next;
};

struct BpeModel::Workspace {
  WordCache cache;
  std::vector<Symbol> symbols;
  std::vector<uint64_t> queue;  // a min-heap of rank << 32 | index of the left symbol
};

// A workspace that is borrowed from the pool, and given back on destruction.
class BpeModel::Lease {
 public:
  explicit Lease(const BpeModel& model) : model_(model) {
    const std::lock_guard<std::mutex> lock(model_.pool_mutex_);
    if (!model_.pool_.empty()) {
      workspace_ = std::move(model_.pool_.back());
      model_.pool_.pop_back();
    }
  }
  ~Lease() {
    const std::lock_guard<std::mutex> lock(model_.pool_mutex_);
    if (workspace_ != nullptr) model_.pool_.push_back(std::move(workspace_));
  }
  Lease(const Lease&) = delete;
  Lease& operator=(const Lease&) = delete;

  Workspace& workspace() {
    if (workspace_ == nullptr) workspace_ = std::make_unique<Workspace>();
    return *workspace_;
  }

 private:
  const BpeModel& model_;
  std::unique_ptr<Workspace> workspace_;
};

BpeModel::BpeModel(const Vocabulary& vocabulary, const std::vector<MergeRule>& merges,
                   const BpeOptions& options, const std::string& where)
    : vocabulary_(vocabulary), options_(options), merges_(merges.size()) {
  if (options_.unknown_token) {
    unknown_id_ = vocabulary_.IdOf(*options_.unknown_token);
    if (unknown_id_ == Vocabulary::kNone) {
      throw Error(fmt::format("{}: unk_token: found \"{}\", expected a token of the vocabulary",
                              where, *options_.unknown_token));
    }
  }
  LoadMerges(merges, where);
  LoadCharacters();
}

BpeModel::~BpeModel() = default;

void BpeModel::LoadMerges(const std::vector<MergeRule>& merges, const std::string& where) {
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const auto id_of = [&](const std::string& token) {
      const int32_t id = vocabulary_.IdOf(token);
      if (id == Vocabulary::kNone) {
        throw Error(fmt::format(
            "{}: merges[{}]: found the token \"{}\", expected a token of the vocabulary", where,
            rank, token));
      }
      return id;
    };
    const MergeRule& merge = merges[rank];
    const int32_t left = id_of(merge.left);
    const int32_t right = id_of(merge.right);
    merges_.Insert(left, right, {static_cast<uint32_t>(rank), id_of(merge.left + merge.right)});
  }
}

void BpeModel::LoadCharacters() {
  for (int32_t id = 0; id < vocabulary_.id_end(); ++id) {
    const std::string* token = vocabulary_.TokenOf(id);
    if (token == nullptr || token->empty()) continue;
    const DecodedCodePoint first = DecodeCodePoint(*token, 0);
    if (first.length != token->size()) continue;
    if (first.value >= character_ids_.size())
      character_ids_.resize(first.value + 1, Vocabulary::kNone);
    character_ids_[first.value] = id;
  }
  for (size_t byte = 0; byte < byte_ids_.size(); ++byte) {
    byte_ids_[byte] = vocabulary_.IdOf(fmt::format("<0x{:02X}>", byte));
  }
}

void BpeModel::AppendIds(const WordList& list, std::vector<int32_t>& ids) const {
  Lease lease(*this);
  Workspace& workspace = lease.workspace();
  for (const WordRange& range : list.words) {
    const std::string_view word = list.Word(range);
    if (word.size() > WordCache::kMaxWordBytes) {
      AppendWordIds(word, workspace, ids);
      continue;
    }
    if (const auto cached = workspace.cache.Find(word)) {
      ids.insert(ids.end(), cached->begin(), cached->end());
      continue;
    }
    const size_t begin = ids.size();
    AppendWordIds(word, workspace, ids);
    workspace.cache.Insert(word, std::span(ids).subspan(begin));
  }
}

void BpeModel::AppendWordIds(std::string_view word, Workspace& workspace,
                             std::vector<int32_t>& ids) const {
  if (options_.ignores_merges) {
    const int32_t id = vocabulary_.IdOf(word);
    if (id != Vocabulary::kNone) {
      ids.push_back(id);
      return;
    }
  }
  PutSymbols(word, workspace);
  MergeSymbols(workspace);
  for (const Symbol& symbol : workspace.symbols) {
    if (symbol.id != Vocabulary::kNone) ids.push_back(symbol.id);
  }
}

// Says so once: every later one is left out in the same way.
void BpeModel::SayThatIsLeftOut(std::string_view character, char32_t value) {
  static std::once_flag once;
  std::call_once(once, [&] {
    LogWarning(
        fmt::format("the tokenizer has no token for the character \"{}\" (U+{:04X}) and no "
                    "unk_token: such characters are left out, as by transformers",
                    character, static_cast<uint32_t>(value)));
  });
}

// This is `merge_word` of model.rs, down to its order: an unknown token waits for the next known
// character, and bytes do not count as one.
void BpeModel::PutSymbols(std::string_view word, Workspace& workspace) const {
  std::vector<Symbol>& symbols = workspace.symbols;
  symbols.clear();
  const auto put = [&](int32_t id) {
    const auto index = static_cast<int32_t>(symbols.size());
    symbols.push_back({id, index - 1, index + 1});
  };
  bool has_waiting_unknown = false;
  for (size_t offset = 0; offset < word.size();) {
    const DecodedCodePoint character = DecodeCodePoint(word, offset);
    const std::string_view bytes = word.substr(offset, character.length);
    offset += character.length;
    const int32_t id = character.value < character_ids_.size() ? character_ids_[character.value]
                                                               : Vocabulary::kNone;
    if (id != Vocabulary::kNone) {
      if (has_waiting_unknown) put(unknown_id_);
      has_waiting_unknown = false;
      put(id);
    } else if (options_.uses_byte_fallback && PutBytes(bytes, workspace)) {
      continue;
    } else if (unknown_id_ != Vocabulary::kNone) {
      if (has_waiting_unknown && !options_.fuses_unknown) put(unknown_id_);
      has_waiting_unknown = true;
    } else {
      SayThatIsLeftOut(bytes, character.value);
    }
  }
  if (has_waiting_unknown) put(unknown_id_);
  if (!symbols.empty()) symbols.back().next = Vocabulary::kNone;
}

bool BpeModel::PutBytes(std::string_view character, Workspace& workspace) const {
  const auto id_of = [&](char byte) { return byte_ids_[static_cast<unsigned char>(byte)]; };
  for (const char byte : character) {
    if (id_of(byte) == Vocabulary::kNone) return false;
  }
  for (const char byte : character) {
    const auto index = static_cast<int32_t>(workspace.symbols.size());
    workspace.symbols.push_back({id_of(byte), index - 1, index + 1});
  }
  return true;
}

// Merges the lowest rank first, and among equal ranks the leftmost pair. With a heap a word of n
// characters takes O(n log n) steps, which matters where a word is a whole text (Llama 2). An entry
// of the heap is stale when one of its symbols has merged with another. Then the pair at its place
// has another rank or is gone.
void BpeModel::MergeSymbols(Workspace& workspace) const {
  std::vector<Symbol>& symbols = workspace.symbols;
  std::vector<uint64_t>& queue = workspace.queue;
  const auto entry = [](const Merge& merge, int32_t left) {
    return uint64_t{merge.rank} << 32 | static_cast<uint32_t>(left);
  };
  const auto find = [&](int32_t left) -> const Merge* {
    const int32_t next = symbols[static_cast<size_t>(left)].next;
    if (next == Vocabulary::kNone) return nullptr;
    return merges_.Find(symbols[static_cast<size_t>(left)].id,
                        symbols[static_cast<size_t>(next)].id);
  };
  const auto push = [&](int32_t left) {
    if (const Merge* merge = find(left)) {
      queue.push_back(entry(*merge, left));
      std::push_heap(queue.begin(), queue.end(), std::greater<>());
    }
  };

  queue.clear();
  for (size_t i = 0; i + 1 < symbols.size(); ++i) {
    const auto left = static_cast<int32_t>(i);
    if (const Merge* merge = find(left)) queue.push_back(entry(*merge, left));
  }
  std::make_heap(queue.begin(), queue.end(), std::greater<>());

  while (!queue.empty()) {
    std::pop_heap(queue.begin(), queue.end(), std::greater<>());
    const uint64_t top = queue.back();
    queue.pop_back();
    const auto left = static_cast<int32_t>(top & 0xFFFFFFFFu);
    Symbol& symbol = symbols[static_cast<size_t>(left)];
    if (symbol.id == Vocabulary::kNone) continue;
    const Merge* merge = find(left);
    if (merge == nullptr || merge->rank != top >> 32) continue;
    Symbol& right = symbols[static_cast<size_t>(symbol.next)];
    symbol.id = merge->id;
    symbol.next = right.next;
    right.id = Vocabulary::kNone;
    if (symbol.next != Vocabulary::kNone) symbols[static_cast<size_t>(symbol.next)].previous = left;
    if (symbol.previous != Vocabulary::kNone) push(symbol.previous);
    push(left);
  }
}

std::unique_ptr<Model> MakeModel(JsonFields fields, const std::vector<MergeRule>& merges,
                                 const Vocabulary& vocabulary) {
  // Files of 2019 name no type. They are told apart by their fields, of which only BPE has merges.
  fields.Ignore("type");
  const bool is_untyped_bpe = !fields.Has("type") && fields.Has("merges");
  if (!is_untyped_bpe) {
    const std::string type = fields.String("type");
    if (type != "BPE") FailUnknownType(fields, type, {"BPE"});
  }
  fields.Object("vocab");
  if (!fields.Value("merges").is_array())
    fields.Fail("merges", "found something else, expected an array");
  RequireUnset(fields, "continuing_subword_prefix");
  RequireUnset(fields, "end_of_word_suffix");
  fields.Ignore("dropout");
  if (fields.Has("dropout") && fields.Number("dropout") != 0.0) {
    fields.Fail("dropout", fmt::format("found {}, expected null or 0: encoding must not be random",
                                       fields.Number("dropout")));
  }
  BpeOptions options;
  fields.Ignore("unk_token");
  if (fields.Has("unk_token")) options.unknown_token = fields.String("unk_token");
  options.fuses_unknown = BoolOr(fields, "fuse_unk", false);
  options.uses_byte_fallback = BoolOr(fields, "byte_fallback", false);
  options.ignores_merges = BoolOr(fields, "ignore_merges", false);
  fields.RequireNoOthers();
  return std::make_unique<BpeModel>(vocabulary, merges, options, fields.where());
}

}  // namespace kvtune::tokenizer
