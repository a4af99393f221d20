#include "lib/runner/layer_stream.h"

#include <omp.h>

#include <utility>

namespace kvtune {

LayerStream::LayerStream(Decoder& decoder) : decoder_(decoder) {
  const at::Device device = decoder.options().device();
  if (decoder.streams() && !device.is_cpu()) {
    // One stream serves all layers, because libtorch keeps freed blocks by stream: the next layer
    // can reuse the blocks of the last one.
    copies_ = c10::impl::VirtualGuardImpl(device.type()).getStreamFromGlobalPool(device);
  }
}

LayerStream::~LayerStream() { Leave(); }

std::future<LayerWeights> LayerStream::Read(size_t layer) const {
  // On a CPU the other threads compute meanwhile. Where a GPU computes they have nothing to do, and
  // one of them alone would read a file more slowly than the GPU takes it.
  const int threads = copies_ ? at::get_num_threads() : 1;
  return std::async(std::launch::async, [this, layer, threads] {
    const c10::InferenceMode no_gradients;
    omp_set_num_threads(threads);  // applies to this thread only
    if (!copies_) return decoder_.ReadLayer(layer);
    const c10::StreamGuard guard(*copies_);
    LayerWeights weights = decoder_.ReadLayer(layer);
    copies_->synchronize();
    return weights;
  });
}

void LayerStream::Leave() {
  if (next_.valid()) next_.wait();
  next_ = {};
  next_layer_.reset();
  if (!current_) return;
  if (copies_) {  // queued kernels may still read the layer that is removed
    c10::impl::VirtualGuardImpl(copies_->device_type()).getStream(copies_->device()).synchronize();
  }
  decoder_.PlaceLayer(*current_, {});
  current_.reset();
}

void LayerStream::Enter(size_t layer) {
  if (!decoder_.streams()) return;
  std::future<LayerWeights> weights;
  if (next_layer_ == layer) weights = std::exchange(next_, {});
  // The current layer is removed before another read begins, so no third layer is ever in memory.
  Leave();
  if (!weights.valid()) weights = Read(layer);
  decoder_.PlaceLayer(layer, weights.get());
  current_ = layer;
  if (layer + 1 < decoder_.config().layers.size()) {
    next_layer_ = layer + 1;
    next_ = Read(layer + 1);
  }
}

}  // namespace kvtune
