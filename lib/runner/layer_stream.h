// Loads the layers of a model that is larger than the memory, one after another.
#pragma once

#include <cstddef>
#include <future>
#include <optional>

#include "lib/runner/decoder.h"

namespace kvtune {

// Keeps the layers of a streamed decoder in place while a pass needs them. While one layer
// computes, a thread of its own reads the next one, so that no more than two layers are in memory.
// For a resident decoder it does nothing.
class LayerStream {
 public:
  // REQUIRES: decoder outlives the stream.
  explicit LayerStream(Decoder& decoder);
  ~LayerStream();
  LayerStream(const LayerStream&) = delete;
  LayerStream& operator=(const LayerStream&) = delete;

  // Afterwards the weights of this layer are in place, the earlier layers are gone, and the next
  // layer is being read. Throws Error as LoadWeights does. REQUIRES: no other thread uses the
  // decoder during the call.
  void Enter(size_t layer);
  // Ends a pass. Afterwards no layer is in memory.
  void Leave();

 private:
  std::future<LayerWeights> Read(size_t layer) const;

  Decoder& decoder_;
  // On a GPU, the stream on which layers are copied while another stream computes.
  std::optional<c10::Stream> copies_;
  std::optional<size_t> current_;
  std::optional<size_t> next_layer_;
  std::future<LayerWeights> next_;
};

}  // namespace kvtune
