// A task for fakes of the model.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "lib/base/file.h"
#include "lib/base/json_fields.h"
#include "lib/io/model_directory.h"
#include "lib/run/prepared_task.h"
#include "lib/tokenizer/tokenizer.h"
#include "tests/support/fake_model.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/test_data.h"

namespace kvtune {

inline const std::filesystem::path kDemoModel =
    std::filesystem::path(KVTUNE_SOURCE_DIR) / "calib_data/demo_model";

// A task about sums and a model that gets some of them right, with the bundled model's tokenizer.
class Sums {
 public:
  Sums() {
    Json items = Json::array();
    for (int i = 0; i < 8; ++i)
      items.push_back({{"prompt", "Please add one: what is " + std::to_string(i) + " + 1?"},
                       {"answer", std::to_string(i + 1)}});
    WriteFileAtomically(file(), R"x({"name": "sums", "protocol": "custom", "stop": ["\n"],
        "extract": "(-?[0-9]+)", "which": "last", "max_new_tokens": 20, "items": )x" +
                                    items.dump() + "}");
    script.losses = {{1, 1}, 1};
    // int2 cannot add 5 and more; everything but exact is wrong about 3. What comes behind the line
    // break does not count.
    script.writes = [this](const PrecisionPlan& plan, const TokenIds& prompt) {
      const std::string text = tokenizer.Decode(prompt);
      const int number = text[text.find("is ") + 3] - '0';
      int sum = number + 1;
      if (plan.layers[0] == kKV2 && number >= 5) sum = 0;
      if (!plan.is_exact() && number == 3) sum = 17;
      return tokenizer.Encode("It is " + std::to_string(sum) + ".\nNo: 99", SpecialTokens::kOmit);
    };
  }

  std::filesystem::path file() const { return folder_ / "task.json"; }
  std::filesystem::path samples() const { return folder_ / "samples.jsonl"; }
  PreparedTask Prepare() const {
    return PreparedTask({.file = file(), .overrides = {}}, kDemoModel, ReadConfigOf(kDemoModel));
  }

  Tokenizer tokenizer = Tokenizer::FromFile(kDemoModel / "tokenizer.json");
  FakeModelScript script;

 private:
  TemporaryDirectory folder_;
};

}  // namespace kvtune
