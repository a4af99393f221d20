#include "lib/runner/token_loss.h"

namespace kvtune {

ReferenceLogits::ReferenceLogits(const at::Tensor& logits) {
  if (UsesCudaKernels(logits)) {
    logits_ = logits.contiguous();
    cuda_summary_ = CudaSummarize(logits_);
    return;
  }
  const at::Tensor rows = logits.to(at::kFloat).contiguous();
  if (!rows.device().is_cpu()) {
    log_p_ = at::log_softmax(rows, -1);
    top_ = logits.argmax(-1);
    return;
  }
  logits_ = rows;
  const int64_t vocab = rows.size(1);
  for (int64_t row = 0; row < rows.size(0); ++row) {
    summaries_.push_back(Summarize(rows.const_data_ptr<float>() + row * vocab, vocab));
  }
}

TokenLosses ComputeTokenLosses(const ReferenceLogits& reference, const at::Tensor& logits,
                               const at::Tensor& next_tokens) {
  const int64_t plans = logits.size(0), rows = logits.size(1), vocab = logits.size(2);
  if (UsesCudaKernels(logits)) {
    const CudaLosses losses = CudaTokenLosses(reference.logits_, reference.cuda_summary_,
                                              logits.contiguous(), next_tokens.contiguous());
    return {losses.kl.cpu(), losses.nll.cpu(), losses.same_top1.cpu(), losses.variation.cpu()};
  }
  if (!logits.device().is_cpu()) {
    // This is the formula of token_loss_cpu.h, which says why it has this form, written with
    // operators.
    const at::Tensor log_q = at::log_softmax(logits.to(at::kFloat), -1);
    // Where p is far below q, p is about 0, and exp(-d) must not become infinite as its factor.
    const at::Tensor d = (reference.log_p_ - log_q).clamp_min_(-87);
    const at::Tensor near = d * d * (0.5 - d * (1.0 / 6 - d * (1.0 / 24)));
    const at::Tensor terms = at::where(at::abs(d) < 0.03, near, d + at::expm1(-d));
    const at::Tensor p = at::exp(reference.log_p_);
    const at::Tensor index = next_tokens.view({1, -1, 1}).expand({plans, -1, 1});
    const auto sum = [&p](const at::Tensor& values) {
      return (p * values).sum(-1, /*keepdim=*/false, at::kDouble).to(at::kFloat).cpu();
    };
    return {sum(terms), -log_q.gather(-1, index).squeeze(-1).to(at::kDouble).cpu(),
            (logits.argmax(-1) == reference.top_).cpu(), sum((d - terms).clamp_min_(0))};
  }
  TokenLosses losses{at::empty({plans, rows}, at::kFloat), at::empty({plans, rows}, at::kDouble),
                     at::empty({plans, rows}, at::kBool), at::empty({plans, rows}, at::kFloat)};
  const at::Tensor plan_rows = logits.to(at::kFloat).contiguous();
  const float* reference_data = reference.logits_.const_data_ptr<float>();
  const float* plan_data = plan_rows.const_data_ptr<float>();
  const int64_t* next_data = next_tokens.const_data_ptr<int64_t>();
  float* kl = losses.kl.mutable_data_ptr<float>();
  double* nll = losses.nll.mutable_data_ptr<double>();
  float* variation = losses.variation.mutable_data_ptr<float>();
  bool* same_top1 = losses.same_top1.mutable_data_ptr<bool>();
  for (int64_t i = 0; i < plans * rows; ++i) {
    const int64_t row = i % rows;
    const TokenLoss loss = ComputeTokenLoss(reference_data + row * vocab,
                                            reference.summaries_[static_cast<size_t>(row)],
                                            plan_data + i * vocab, vocab, next_data[row]);
    kl[i] = static_cast<float>(loss.kl);
    nll[i] = loss.nll;
    variation[i] = static_cast<float>(loss.total_variation);
    same_top1[i] = loss.same_top1;
  }
  return losses;
}

}  // namespace kvtune
