// The layers of a model that is larger than the memory, one after another.
#pragma once

#include <cstddef>
#include <future>
#include <optional>

#include "lib/runner/decoder.h"

namespace kvtune {

// Puts a streamed decoder's layers in place while a pass needs them: while one computes, a thread
// of its own reads the next, and no third one is in memory. For a resident decoder it does nothing.
class LayerStream {
 public:
  // REQUIRES: decoder outlives the stream.
  explicit LayerStream(Decoder& decoder);
  ~LayerStream();
  LayerStream(const LayerStream&) = delete;
  LayerStream& operator=(const LayerStream&) = delete;

  // Afterwards this layer's weights are there, those before are gone and the next are being read.
  // Throws Error as LoadWeights. REQUIRES: no other thread uses the decoder during the call.
  void Enter(size_t layer);
  // Ends a pass: no layer is in memory.
  void Leave();

 private:
  std::future<LayerWeights> Read(size_t layer) const;

  Decoder& decoder_;
  std::optional<c10::Stream> copies_;  // a GPU's: layers are copied beside the computation
  std::optional<size_t> current_;
  std::optional<size_t> next_layer_;
  std::future<LayerWeights> next_;
};

}  // namespace kvtune
