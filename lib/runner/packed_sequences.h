// The packed cache of many sequences, each under a plan of its own, as tensors on a CPU or on CUDA.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include "lib/core/model_config.h"
#include "lib/kernels/packed_cache.h"
#include "lib/runner/decoder.h"
#include "lib/runner/device_numbers.h"
#include "lib/runner/extent_pool.h"
#include "lib/runner/side_streams.h"
#include "lib/runner/torch.h"

namespace kvtune {

// Whether a layer of this shape can be packed under every one of these pairs: the elements are
// bfloat16, keys and values have heads of one size, and WhyNotPacked has nothing against any pair.
bool CanPack(const LayerConfig& layer, std::span<const PrecisionPair> pairs, at::ScalarType type);

// The memory for all packed layers of one device. A sequence takes a range of it when it is
// admitted, as many bytes as its own formats need for all of its tokens.
class PackedMemory {
 public:
  // Takes the memory. layers: of which caches lie here; most_tokens: of a sequence
  PackedMemory(std::vector<LayerConfig> layers, int64_t rows, int64_t most_tokens, int64_t bytes,
               const at::Device& device);

  // What a sequence takes. pairs: of each of the layers
  static int64_t BytesOf(std::span<const LayerConfig> layers, std::span<const PrecisionPair> pairs,
                         int64_t tokens);

  // Takes memory for a sequence of so many tokens in a row. Returns whether there was enough.
  bool Admit(int64_t row, std::span<const PrecisionPair> pairs, int64_t tokens);
  void Release(int64_t row);

  // What a view of a cache in one of the layers says of places.
  void Place(size_t layer, PackedCache& cache) const;

 private:
  std::vector<LayerConfig> layers_;
  int64_t entries_;  // of a row of the table in one layer: its pages, then its window
  at::Tensor bytes_;
  at::Tensor table_;  // [rows, layers, entries] of int32, in units of kPageUnit
  ExtentPool pool_;
  std::vector<std::optional<int64_t>> begin_of_row_;
};

// One layer. The rows with a pair of formats are appended, attended to and flushed together. On
// CUDA, those of them that store the same prompt read it together (PackedUnits), each of them a
// copy of its own that another one may read.
class PackedSequences {
 public:
  // layer: among those of the memory, which outlives this object
  PackedSequences(const LayerConfig& shape, int64_t query_heads, int64_t rows,
                  const PackedMemory& memory, size_t layer);

  void Begin(int64_t row, PrecisionPair pair);
  void End(int64_t row);
  // Stores the same prompt in some rows, which have begun. keys, values: exact, [kv_heads, tokens,
  // head_dim]
  void Store(std::span<const int64_t> rows, const at::Tensor& keys, const at::Tensor& values);

  // Prepares a step: adds what it needs on the device. tokens: of each row, with the newest
  void Prepare(std::span<const int64_t> tokens, DeviceNumbers& numbers);
  // Adds the newest token of every row, attends and quantizes the groups that became full.
  // newest: [1, heads, rows or more, head_dim], the queries scaled; tokens: those of Prepare as
  // int32 on the device; streams: of the device; out: [rows or more, query_heads * head_dim], of
  // which live rows are written
  void Attend(const QueryKeyValue& newest, const at::Tensor& tokens, SideStreams& streams,
              at::Tensor& out);

 private:
  struct Sequence {
    PrecisionPair pair;
    int64_t prompt = 0;      // the same for rows that were stored together; 0: none was
    int64_t same_pages = 0;  // that its prompt fills
  };
  // Rows of one pair: a part of order_.
  struct Group {
    PackedLayout layout;
    int64_t begin = 0;
    int64_t count = 0;
    int64_t first_unit = 0;
    int64_t units = 0;
    std::set<std::pair<int64_t, int64_t>> unit_sizes = {};  // same pages and sequences
    int64_t most_tokens = 0;
    int64_t blocks = 0;  // over which CUDA's kernels are split; 0: not known yet
  };

  PackedCache ViewOf(const PackedLayout& layout, const at::Tensor& rows, const at::Tensor& tokens,
                     int64_t most_tokens) const;
  // In the order of their pairs, and of their prompts.
  void SortRows(DeviceNumbers& numbers);
  // Adds a group of the next rows of rows_.
  void AddGroup(PrecisionPair pair, int64_t count);
  PackedUnits UnitsOf(const Group& group) const;

  const Sequence& Of(int64_t row) const { return *sequences_[static_cast<size_t>(row)]; }

  LayerConfig shape_;
  int64_t most_together_;  // sequences of a unit
  const PackedMemory& memory_;
  size_t layer_;
  std::vector<std::optional<Sequence>> sequences_;  // by row; none where no sequence is
  int64_t prompts_ = 0;                             // that were stored
  bool has_changed_ = false;
  std::vector<int64_t> rows_;         // those with a sequence
  std::vector<int64_t> units_;        // [units, 3] of all groups, see PackedUnits
  std::vector<int64_t> unit_of_row_;  // by place in rows_
  std::vector<Group> groups_;
  at::Tensor order_, device_units_, device_unit_of_row_;  // the same on the device
};

}  // namespace kvtune
