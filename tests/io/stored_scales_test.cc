#include "lib/io/stored_scales.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "lib/base/error.h"
#include "tests/io/safetensors_builder.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/tiny_checkpoint.h"

namespace kvtune {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;
using ::testing::ThrowsMessage;

NamedTensor Floats(const std::string& name, const std::vector<int64_t>& shape,
                   const std::vector<float>& values) {
  std::string bytes(values.size() * sizeof(float), '\0');
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return {name, "F32", shape, bytes};
}

// A checkpoint of two layers with two KV heads that has these tensors beside its own.
class ScaledCheckpoint {
 public:
  explicit ScaledCheckpoint(std::vector<NamedTensor> scales) {
    WriteTinyCheckpoint({.layers = 2, .hidden = 8, .intermediate = 8, .head_dim = 4, .vocab = 16},
                        directory_.path());
    const std::filesystem::path file = directory_ / "model.safetensors";
    {
      const SafetensorsFile own(file);
      for (const std::string& name : own.names()) {
        const TensorView view = own.Get(name);
        scales.push_back({name,
                          "F32",
                          view.shape,
                          {reinterpret_cast<const char*>(view.bytes.data()), view.bytes.size()}});
      }
    }
    WriteTensors(file, scales);
  }

  std::vector<LayerMaxima> Read() const { return ReadStoredScales(Checkpoint(directory_.path())); }
  auto Reading() const {
    return [this] { Read(); };
  }

 private:
  TemporaryDirectory directory_;
};

std::string Attention(int layer) { return "model.layers." + std::to_string(layer) + ".self_attn."; }

TEST(StoredScales, AreFoundUnderEveryName) {
  const std::pair<const char*, const char*> kNames[] = {
      {"k_proj.k_scale", "v_proj.v_scale"},
      {"k_scale", "v_scale"},
      {"attn.k_scale", "attn.v_scale"},
      {"qkv_proj.k_scale", "qkv_proj.v_scale"},
      {"k_proj.output_scale", "v_proj.output_scale"}};
  for (const auto& [key, value] : kNames) {
    const ScaledCheckpoint model(
        {Floats(Attention(0) + key, {}, {0.5F}), Floats(Attention(0) + value, {1}, {0.25F}),
         Floats(Attention(1) + key, {1}, {2}), Floats(Attention(1) + value, {2}, {3, 4})});
    const std::vector<LayerMaxima> scales = model.Read();
    ASSERT_THAT(scales, SizeIs(2)) << key;
    EXPECT_THAT(scales[0].stored_key_scales, ElementsAre(0.5F, 0.5F)) << key;
    EXPECT_THAT(scales[0].stored_value_scales, ElementsAre(0.25F, 0.25F)) << key;
    EXPECT_THAT(scales[1].stored_key_scales, ElementsAre(2, 2)) << key;
    EXPECT_THAT(scales[1].stored_value_scales, ElementsAre(3, 4)) << key;
  }
}

TEST(StoredScales, MayHaveEveryShapeOfOneOrOfOneForEachHead) {
  const std::vector<std::vector<int64_t>> shapes = {{}, {1}, {1, 1}, {2}, {2, 1}, {2, 1, 1}};
  for (const std::vector<int64_t>& shape : shapes) {
    const bool is_one = shape.empty() || shape[0] == 1;
    const std::vector<float> keys = is_one ? std::vector{0.5F} : std::vector{0.5F, 0.75F};
    const ScaledCheckpoint model(
        {Floats(Attention(0) + "k_scale", shape, keys), Floats(Attention(0) + "v_scale", {}, {2}),
         Floats(Attention(1) + "k_scale", {}, {2}), Floats(Attention(1) + "v_scale", {}, {2})});
    EXPECT_THAT(model.Read()[0].stored_key_scales, ElementsAre(0.5F, is_one ? 0.5F : 0.75F));
  }
}

TEST(StoredScales, OneMayServeBothSides) {
  const ScaledCheckpoint model(
      {Floats(Attention(0) + "kv_scale", {}, {0.5F}), Floats(Attention(1) + "kv_scale", {}, {2})});
  EXPECT_THAT(model.Read()[1].stored_key_scales, ElementsAre(2, 2));
  EXPECT_THAT(model.Read()[1].stored_value_scales, ElementsAre(2, 2));
}

TEST(StoredScales, LayersWithoutAreNamed) {
  EXPECT_THAT(ScaledCheckpoint({}).Reading(),
              ThrowsMessage<Error>(AllOf(HasSubstr("found no k_proj.k_scale in layers 0, 1"),
                                         HasSubstr("--scales calibrated"))));
  EXPECT_THAT(ScaledCheckpoint({Floats(Attention(0) + "k_scale", {}, {1}),
                                Floats(Attention(0) + "v_scale", {}, {1}),
                                Floats(Attention(1) + "k_scale", {}, {1})})
                  .Reading(),
              ThrowsMessage<Error>(HasSubstr("found no v_proj.v_scale in layer 1, ")));
  for (const float bad : {0.0F, -1.0F, std::numeric_limits<float>::infinity()}) {
    EXPECT_THAT(ScaledCheckpoint({Floats(Attention(0) + "k_scale", {}, {1}),
                                  Floats(Attention(0) + "v_scale", {}, {1}),
                                  Floats(Attention(1) + "k_scale", {}, {1}),
                                  Floats(Attention(1) + "v_scale", {}, {bad})})
                    .Reading(),
                ThrowsMessage<Error>(HasSubstr(" in layer 1, expected k_scale and v_scale")))
        << bad;
  }
}

TEST(StoredScales, HaveOneNumberForTheLayerOrForEachHead) {
  EXPECT_THAT(ScaledCheckpoint({Floats(Attention(0) + "k_scale", {3}, {1, 1, 1})}).Reading(),
              ThrowsMessage<Error>(HasSubstr("self_attn.k_scale: found the shape [3]")));
}

}  // namespace
}  // namespace kvtune
