// SGLang's words for its KV cache formats. Its release and the fork with one type for each layer
// share them.
#pragma once

#include <array>
#include <string>
#include <string_view>

#include "lib/targets/plan_text.h"

namespace kvtune {

inline constexpr std::array kSglangFormats = {KvFormatId::kFp8E4m3, KvFormatId::kFp8E5m2,
                                              KvFormatId::kSglangFp4};

// The choices of server_args (sglang/srt/arg_groups/fields/model.py); fp4_e2m1 is what older
// releases call fp4_mx_block16.
inline constexpr std::array<FormatWord, 7> kSglangWords = {
    {{"bf16", KvFormatId::kExact},
     {"bfloat16", KvFormatId::kExact},
     {"auto", KvFormatId::kExact},
     {"fp8_e4m3", KvFormatId::kFp8E4m3},
     {"fp8_e5m2", KvFormatId::kFp8E5m2},
     {"fp4_mx_block16", KvFormatId::kSglangFp4},
     {"fp4_e2m1", KvFormatId::kSglangFp4}}};

// The format of one of these words. Throws Error for another word; `where` names its place in the
// message.
KvFormatId FormatOfSglangWord(std::string_view word, const std::string& where);

}  // namespace kvtune
