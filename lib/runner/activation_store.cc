#include "lib/runner/activation_store.h"

#include <utility>

namespace kvtune {
namespace {

int64_t RoundUpToPages(int64_t bytes) {
  constexpr auto kPage = static_cast<int64_t>(ScratchFile::kPageBytes);
  return (bytes + kPage - 1) / kPage * kPage;
}

}  // namespace

ActivationStore::ActivationStore(std::span<const int64_t> bytes_of_batch, int64_t max_bytes)
    : slots_(bytes_of_batch.size()) {
  int64_t in_memory = 0, spilled = 0;
  std::vector<int64_t> offsets(slots_.size(), -1);
  for (size_t i = 0; i < slots_.size(); ++i) {
    if (in_memory + bytes_of_batch[i] <= max_bytes) {
      in_memory += bytes_of_batch[i];
    } else {
      offsets[i] = std::exchange(spilled, spilled + RoundUpToPages(bytes_of_batch[i]));
    }
  }
  // Every spilled batch begins at a page of its own, so that evicting its pages leaves the others.
  if (spilled == 0) return;
  file_ = std::make_unique<ScratchFile>(static_cast<size_t>(spilled));
  for (size_t i = 0; i < slots_.size(); ++i) {
    if (offsets[i] < 0) continue;
    slots_[i].spill = file_->bytes().subspan(
        static_cast<size_t>(offsets[i]), static_cast<size_t>(RoundUpToPages(bytes_of_batch[i])));
  }
}

void ActivationStore::Put(size_t batch, at::Tensor hidden) {
  Slot& slot = slots_[batch];
  if (slot.spill.empty()) {
    slot.kept = std::move(hidden);
    return;
  }
  slot.shape = hidden.sizes().vec();
  slot.options = hidden.options();
  at::from_blob(slot.spill.data(), slot.shape, slot.options.device(at::kCPU)).copy_(hidden);
  file_->Evict(slot.spill);
}

at::Tensor ActivationStore::Take(size_t batch) {
  Slot& slot = slots_[batch];
  if (slot.spill.empty()) return std::exchange(slot.kept, {});
  at::Tensor hidden = at::empty(slot.shape, slot.options);
  hidden.copy_(at::from_blob(slot.spill.data(), slot.shape, slot.options.device(at::kCPU)));
  file_->Evict(slot.spill);
  return hidden;
}

}  // namespace kvtune
