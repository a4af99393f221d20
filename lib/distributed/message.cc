#include "lib/distributed/message.h"

#include <concepts>
#include <cstring>
#include <optional>
#include <type_traits>

#include "lib/base/error.h"

namespace kvtune {
namespace {

class MessageWriter {
 public:
  std::string TakeBytes() { return std::move(bytes_); }

  void Raw(const void* data, size_t size) { bytes_.append(static_cast<const char*>(data), size); }
  template <typename List>
  void Size(const List& list) {
    const auto size = static_cast<uint64_t>(list.size());
    Raw(&size, sizeof(size));
  }

 private:
  std::string bytes_;
};

class MessageReader {
 public:
  explicit MessageReader(std::string_view bytes) : bytes_(bytes) {}

  void Raw(void* data, size_t size) {
    if (size > bytes_.size()) Fail();
    if (size > 0) std::memcpy(data, bytes_.data(), size);
    bytes_.remove_prefix(size);
  }
  // Every element takes a byte at least, so that a damaged size cannot ask for much memory.
  template <typename List>
  void Size(List& list) {
    uint64_t size = 0;
    Raw(&size, sizeof(size));
    if (size > bytes_.size()) Fail();
    list.resize(static_cast<size_t>(size));
  }
  void RequireEnd() const {
    if (!bytes_.empty()) Fail();
  }

 private:
  [[noreturn]] void Fail() const {
    throw Error(
        "reading a message of another process: found bytes of another form, expected those of this "
        "version of kvtune");
  }

  std::string_view bytes_;
};

template <typename Type, typename Wanted>
concept Is = std::same_as<std::remove_const_t<Type>, Wanted>;

// What is copied as it lies in memory: numbers, and structs of numbers of one kind.
template <typename Type>
concept Plain = std::is_arithmetic_v<std::remove_const_t<Type>> || Is<Type, PrecisionPair> ||
    Is<Type, HeadErrorSums> || Is<Type, GenerationRow> || Is<Type, LeaseKind>;
static_assert(sizeof(HeadErrorSums) == 14 * sizeof(double) && sizeof(PrecisionPair) == 2);
static_assert(sizeof(GenerationRow) == 2 * sizeof(size_t));

// One list of fields for each struct, for both directions. An archive that writes takes constants.
template <typename Archive, typename Type>
void Walk(Archive& archive, Type& value);

template <typename Archive, typename List>
void WalkList(Archive& archive, List& list) {
  archive.Size(list);
  for (auto& element : list) Walk(archive, element);
}

// Of all its bytes at once.
template <typename Archive, typename List>
void WalkBlock(Archive& archive, List& list) {
  archive.Size(list);
  archive.Raw(list.data(), list.size() * sizeof(list[0]));
}

template <typename Archive, typename Type>
void WalkOptional(Archive& archive, Type& value) {
  uint8_t is_there = value.has_value() ? 1 : 0;
  archive.Raw(&is_there, sizeof(is_there));
  double number = value.value_or(0);
  archive.Raw(&number, sizeof(number));
  if constexpr (!std::is_const_v<Type>) value = is_there ? std::optional(number) : std::nullopt;
}

template <typename Archive, typename... Fields>
void WalkAll(Archive& archive, Fields&... fields) {
  (Walk(archive, fields), ...);
}

template <typename Type>
struct ElementOf {
  using type = void;
};
template <typename Element>
struct ElementOf<std::vector<Element>> {
  using type = Element;
};

template <typename Archive, typename Type>
void Walk(Archive& archive, Type& value) {
  using Element = typename ElementOf<std::remove_const_t<Type>>::type;
  if constexpr (Plain<Type>) {
    archive.Raw(&value, sizeof(value));
  } else if constexpr (Is<Type, std::string> || Plain<Element>) {
    WalkBlock(archive, value);
  } else if constexpr (!std::is_void_v<Element>) {
    WalkList(archive, value);
  } else if constexpr (Is<Type, std::optional<double>>) {
    WalkOptional(archive, value);
  } else if constexpr (Is<Type, PrecisionPlan>) {
    Walk(archive, value.layers);
  } else if constexpr (Is<Type, PromptScore>) {
    WalkAll(archive, value.tokens, value.kl_sum, value.nll_sum, value.exact_nll_sum,
            value.top1_matches, value.total_variation_sum, value.first_position, value.token_kl,
            value.token_nll);
  } else if constexpr (Is<Type, PairErrorSums>) {
    WalkAll(archive, value.kv_heads, value.key_channel_error);
  } else if constexpr (Is<Type, LayerMaxima>) {
    WalkAll(archive, value.key, value.value, value.stored_key_scales, value.stored_value_scales);
  } else if constexpr (Is<Type, LayerObservation>) {
    WalkAll(archive, value.pairs, value.concentration_sum, value.concentration_count,
            value.key_channel_max, value.key_channel_total, value.maxima, value.key_bias_norm);
  } else if constexpr (Is<Type, RowEnds>) {
    WalkAll(archive, value.max_new_tokens, value.end_tokens, value.stops, value.stop_tokens);
  } else if constexpr (Is<Type, LeaseRequest>) {
    WalkAll(archive, value.kind, value.maxima_version, value.plans, value.pairs, value.prompts,
            value.rows, value.shared_tokens, value.ends);
  } else {
    static_assert(Is<Type, LeaseResult>);
    WalkAll(archive, value.error, value.seconds, value.scores, value.observations, value.generated);
  }
}

template <typename Message>
std::string Written(const Message& message) {
  MessageWriter writer;
  Walk(writer, message);
  return writer.TakeBytes();
}

template <typename Message>
Message ReadMessage(std::string_view bytes) {
  MessageReader reader(bytes);
  Message message;
  Walk(reader, message);
  reader.RequireEnd();
  return message;
}

}  // namespace

std::string Encode(const LeaseRequest& request) { return Written(request); }
std::string Encode(const LeaseResult& result) { return Written(result); }
std::string Encode(const std::vector<LayerMaxima>& maxima) { return Written(maxima); }

LeaseRequest DecodeRequest(std::string_view bytes) { return ReadMessage<LeaseRequest>(bytes); }
LeaseResult DecodeResult(std::string_view bytes) { return ReadMessage<LeaseResult>(bytes); }
std::vector<LayerMaxima> DecodeMaxima(std::string_view bytes) {
  return ReadMessage<std::vector<LayerMaxima>>(bytes);
}

}  // namespace kvtune
