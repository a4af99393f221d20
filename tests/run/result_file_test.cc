#include "lib/run/result_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "lib/io/safetensors_writer.h"
#include "tests/support/temporary_directory.h"

namespace kvtune {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class ResultFile : public ::testing::Test {
 protected:
  fs::path Write(const std::string& name) {
    fs::create_directories((folder_ / name).parent_path());
    WriteFileAtomically(folder_ / name, "content");
    return folder_ / name;
  }
  // A usage error that names the option and says what the file is.
  static void ExpectRefused(const fs::path& path, const std::string& what,
                            const std::vector<fs::path>& inputs = {}) {
    try {
      RequireResultFile(path, "--out", inputs);
      ADD_FAILURE() << path << " was not refused";
    } catch (const Error& error) {
      EXPECT_EQ(error.exit_code(), ExitCode::kUsage) << path;
      EXPECT_THAT(error.what(), HasSubstr("--out " + path.string() + ": found " + what));
    }
  }

  TemporaryDirectory folder_;
};

TEST_F(ResultFile, MayBeNewOrReplaceAnEarlierResult) {
  EXPECT_NO_THROW(RequireResultFile(fs::path(), "--out"));
  EXPECT_NO_THROW(RequireResultFile(folder_ / "new.json", "--out"));
  const fs::path earlier = Write("latency.json");
  EXPECT_NO_THROW(RequireResultFile(earlier, "--out"));
  EXPECT_NO_THROW(
      RequireResultFile(earlier, "--out", std::vector<fs::path>{folder_ / "none", fs::path()}));
  EXPECT_ANY_THROW(RequireResultFile(folder_.path(), "--out"));
}

TEST_F(ResultFile, IsNoInputUnderWhateverName) {
  const fs::path input = Write("task.json");
  const fs::path link = folder_ / "link.json", hard = folder_ / "hard.json";
  fs::create_symlink("task.json", link);
  fs::create_hard_link(input, hard);
  for (const fs::path& path : {input, link, hard, folder_ / "." / "task.json"})
    ExpectRefused(path, "the input " + input.string(), {folder_ / "other", input});
}

TEST_F(ResultFile, IsNoFileOfARun) {
  const fs::path front = Write("run/front.json");
  EXPECT_NO_THROW(RequireResultFile(front, "--out"));  // of no run
  Write("run/run.json");
  const fs::path link = folder_ / "result.json";
  fs::create_symlink("run/front.json", link);
  ExpectRefused(front, "a file of a run");
  ExpectRefused(link, "a file of a run");
  ExpectRefused(Write("run/answers.jsonl"), "a file of a run");
  EXPECT_NO_THROW(RequireResultFile(Write("run/report.html"), "--out"));
}

TEST_F(ResultFile, IsNoTimesThatASearchHasRead) {
  const fs::path times = Write("run/latency.json");
  const auto run = [&](const char* text) { WriteFileAtomically(folder_ / "run/run.json", text); };
  for (const char* text : {"", "[]", "{}", R"({"stages": {"calibrate": {"options": {}}}})",
                           R"({"stages": {"search": {"options": {"--population": 16}}}})"}) {
    run(text);
    EXPECT_NO_THROW(RequireResultFile(times, "--out")) << text;
  }
  run(R"({"stages": {"search": {"options": {"--objective-latency": "xxh3:0"}}}})");
  ExpectRefused(times, "a file of a run");
}

TEST_F(ResultFile, IsNoFileOfAModel) {
  const fs::path tokenizer = Write("model/tokenizer.json");
  EXPECT_NO_THROW(RequireResultFile(tokenizer, "--out"));  // of no model
  ExpectRefused(Write("model/config.json"), "a file of a model");
  ExpectRefused(tokenizer, "a file of a model");
  ExpectRefused(Write("model/model.safetensors.index.json"), "a file of a model");
  ExpectRefused(Write("model/model.safetensors"), "a file of a model");
  // As the hub's cache has it.
  Write("blobs/1");
  fs::create_symlink("../blobs/1", folder_ / "model/merges.txt");
  ExpectRefused(folder_ / "model/merges.txt", "a file of a model");
  EXPECT_NO_THROW(RequireResultFile(Write("model/plan.json"), "--out"));
}

TEST_F(ResultFile, MayReplaceScalesButNoWeights) {
  const fs::path file = folder_ / "plan.safetensors";
  const Float32Tensor key{"model.layers.0.self_attn.k_proj.k_scale", {}, {0.25F}};
  const Float32Tensor value{"model.layers.0.self_attn.v_proj.v_scale", {}, {0.5F}};
  const Float32Tensor weight{"model.norm.weight", {1}, {0.5F}};
  WriteSafetensors(file, std::vector{key, value});
  EXPECT_NO_THROW(RequireResultFile(file, "--out"));
  WriteSafetensors(file, std::vector{key, weight});
  ExpectRefused(file, "a file of a model");
}

}  // namespace
}  // namespace kvtune
