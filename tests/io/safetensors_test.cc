#include "lib/io/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstring>
#include <string>

#include "lib/base/error.h"
#include "tests/io/safetensors_builder.h"
#include "tests/support/temporary_directory.h"

namespace kvtune {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::ThrowsMessage;

class SafetensorsFiles : public ::testing::Test {
 protected:
  std::filesystem::path path() const { return directory_ / "weights.safetensors"; }

  auto Opening() const {
    return [this] { SafetensorsFile file(path()); };
  }

  // Opening a file with this header and this many bytes of data.
  auto OpeningWith(std::string_view header, size_t data_bytes) const {
    WriteSafetensors(path(), header, std::string(data_bytes, '\0'));
    return Opening();
  }

 private:
  TemporaryDirectory directory_;
};

std::string BytesOf(const std::vector<float>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)};
}

TEST_F(SafetensorsFiles, GivesShapesTypesAndBytes) {
  WriteTensors(path(), {{"matrix", "F32", {2, 3}, BytesOf({1, 2, 3, 4, 5, 6})},
                        {"half", "F16", {2}, "abcd"},
                        {"scalar", "BF16", {}, "xy"}});
  const SafetensorsFile file(path());
  EXPECT_THAT(file.names(), ElementsAre("half", "matrix", "scalar"));
  EXPECT_TRUE(file.Has("half"));
  EXPECT_FALSE(file.Has("__metadata__"));
  EXPECT_EQ(file.path(), path());

  const TensorView matrix = file.Get("matrix");
  EXPECT_EQ(matrix.type, TensorType::kFloat32);
  EXPECT_THAT(matrix.shape, ElementsAre(2, 3));
  ASSERT_EQ(matrix.bytes.size(), 24u);
  float last = 0;
  std::memcpy(&last, matrix.bytes.data() + 20, sizeof(last));
  EXPECT_EQ(last, 6);

  EXPECT_EQ(file.Get("half").type, TensorType::kFloat16);
  EXPECT_EQ(std::memcmp(file.Get("half").bytes.data(), "abcd", 4), 0);
  EXPECT_EQ(file.Get("scalar").type, TensorType::kBFloat16);
  EXPECT_THAT(file.Get("scalar").shape, IsEmpty());
  EXPECT_EQ(file.Get("scalar").bytes.size(), 2u);
}

TEST_F(SafetensorsFiles, AFileOfNoTensorsIsValid) {
  WriteSafetensors(path(), "{}", "");
  EXPECT_THAT(SafetensorsFile(path()).names(), IsEmpty());
}

TEST_F(SafetensorsFiles, EmptyTensorsOverlapNothing) {
  // Whatever their names, empty tensors may begin where a neighbour begins or ends.
  WriteTensors(
      path(),
      {{"z_empty", "F32", {0, 4}, ""}, {"full", "F32", {1}, "1234"}, {"a_empty", "F32", {0}, ""}});
  const SafetensorsFile file(path());
  EXPECT_THAT(file.Get("z_empty").shape, ElementsAre(0, 4));
  EXPECT_THAT(file.Get("a_empty").bytes, IsEmpty());
}

TEST_F(SafetensorsFiles, HeadersMayBePaddedWithBlanks) {
  WriteSafetensors(path(), R"({"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}     )",
                   "1234");
  EXPECT_TRUE(SafetensorsFile(path()).Has("x"));
}

TEST_F(SafetensorsFiles, FilesThatAreTooShortSaySo) {
  EXPECT_THAT(
      [] { SafetensorsFile file("/nowhere/weights.safetensors"); },
      ThrowsMessage<Error>(HasSubstr("opening /nowhere/weights.safetensors: No such file")));
  WriteFileAtomically(path(), "");
  EXPECT_THAT(Opening(),
              ThrowsMessage<Error>(
                  AllOf(HasSubstr("weights.safetensors"),
                        HasSubstr("found 0 bytes, expected a safetensors file of at least 8"))));
  WriteFileAtomically(path(), "1234567");
  EXPECT_THAT(Opening(), ThrowsMessage<Error>(HasSubstr("found 7 bytes")));
  // Eight bytes are a length, here that of a header of 0 bytes.
  WriteFileAtomically(path(), std::string(8, '\0'));
  EXPECT_THAT(Opening(), ThrowsMessage<Error>(AllOf(HasSubstr("weights.safetensors"),
                                                    Not(HasSubstr("of at least 8")))));
}

TEST_F(SafetensorsFiles, HeaderLengthsHaveToBeTrue) {
  const auto with_length = [&](uint64_t length) {
    WriteFileAtomically(path(),
                        std::string(reinterpret_cast<const char*>(&length), sizeof(length)) + "{}");
    return Opening();
  };
  EXPECT_THAT(with_length(3),
              ThrowsMessage<Error>(HasSubstr(
                  "found a header length of 3 bytes in a file of 10, the file is truncated")));
  EXPECT_THAT(with_length(100'000'001),
              ThrowsMessage<Error>(HasSubstr(
                  "found a header length of 100000001 bytes, expected at most 100000000")));
  EXPECT_THAT(with_length(UINT64_MAX),
              ThrowsMessage<Error>(HasSubstr("found a header length of 18446744073709551615")));
  EXPECT_THAT(with_length(0), ThrowsMessage<Error>(HasSubstr("not valid JSON")));
}

TEST_F(SafetensorsFiles, HeadersHaveToBeObjectsOfTensors) {
  EXPECT_THAT(OpeningWith("{\"x\": ", 0),
              ThrowsMessage<Error>(AllOf(HasSubstr("weights.safetensors (safetensors header)"),
                                         HasSubstr("not valid JSON at line 1"))));
  EXPECT_THAT(OpeningWith("[]", 0),
              ThrowsMessage<Error>(HasSubstr("found [], expected a JSON object")));
  EXPECT_THAT(OpeningWith(R"({"x":1})", 0),
              ThrowsMessage<Error>(HasSubstr(": x: found 1, expected a JSON object")));
  EXPECT_THAT(OpeningWith(R"({"x":{"shape":[1],"data_offsets":[0,4]}})", 4),
              ThrowsMessage<Error>(HasSubstr("\"dtype\": found nothing")));
  EXPECT_THAT(
      OpeningWith(R"({"x":{"dtype":"F32","shape":[1.5],"data_offsets":[0,4]}})", 4),
      ThrowsMessage<Error>(HasSubstr("\"shape\": found [1.5], expected an array of integers")));
  EXPECT_THAT(OpeningWith(R"({"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},
                              "x":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
                          8),
              ThrowsMessage<Error>(HasSubstr("found the key \"x\" twice")));
}

TEST_F(SafetensorsFiles, UnknownTypesAreRefused) {
  EXPECT_THAT(
      OpeningWith(R"({"x":{"dtype":"F31","shape":[1],"data_offsets":[0,4]}})", 4),
      ThrowsMessage<Error>(HasSubstr(": x: \"dtype\": found F31, expected a safetensors type")));
}

TEST_F(SafetensorsFiles, TypesThatAreNotReadAreRefusedOnlyWhenAskedFor) {
  WriteTensors(path(), {{"ids", "I64", {1}, "12345678"},
                        {"float8", "F8_E8M0", {3}, "123"},
                        {"float4", "F4", {2, 2}, "12"},
                        {"float6", "F6_E2M3", {4}, "123"},
                        {"complex", "C64", {1}, "12345678"}});
  const SafetensorsFile file(path());
  EXPECT_TRUE(file.Has("ids"));
  EXPECT_THAT(
      [&] { file.Get("ids"); },
      ThrowsMessage<Error>(AllOf(HasSubstr("weights.safetensors: tensor ids"),
                                 HasSubstr("found the type I64, expected F32, F16 or BF16"))));
  EXPECT_THAT([&] { file.Get("weight"); },
              ThrowsMessage<Error>(HasSubstr("found no tensor weight, expected one")));
  EXPECT_EQ(file.Contents("ids").dtype, "I64");
  EXPECT_THAT(file.Contents("float4").shape, ElementsAre(2, 2));
  EXPECT_EQ(file.Contents("float4").bytes.size(), 2u);
  EXPECT_THAT([&] { file.Contents("weight"); },
              ThrowsMessage<Error>(HasSubstr("found no tensor weight")));
}

TEST_F(SafetensorsFiles, OffsetsHaveToLieWithinTheData) {
  const auto with_offsets = [&](const std::string& offsets) {
    return OpeningWith(R"({"x":{"dtype":"F32","shape":[2],"data_offsets":)" + offsets + "}}", 8);
  };
  EXPECT_THAT(with_offsets("[0, 12]"),
              ThrowsMessage<Error>(HasSubstr(
                  ": x: \"data_offsets\": found [0, 12], expected [begin, end] within the 8 "
                  "bytes of data")));
  EXPECT_THAT(with_offsets("[8, 0]"),
              ThrowsMessage<Error>(HasSubstr("found [8, 0], expected [begin, end]")));
  EXPECT_THAT(with_offsets("[-8, 0]"),
              ThrowsMessage<Error>(HasSubstr("found [-8, 0], expected [begin, end]")));
  EXPECT_THAT(with_offsets("[0]"),
              ThrowsMessage<Error>(HasSubstr("found [0], expected [begin, end]")));
  EXPECT_THAT(with_offsets("[0, 8, 8]"),
              ThrowsMessage<Error>(HasSubstr("found [0, 8, 8], expected [begin, end]")));
  EXPECT_THAT(with_offsets("[0, 18446744073709551615]"),
              ThrowsMessage<Error>(HasSubstr("expected an array of integers")));
}

TEST_F(SafetensorsFiles, BytesHaveToMatchTheShape) {
  EXPECT_THAT(OpeningWith(R"({"x":{"dtype":"BF16","shape":[2,3],"data_offsets":[0,8]}})", 8),
              ThrowsMessage<Error>(
                  HasSubstr("\"data_offsets\": found 8 bytes, expected 12 for BF16 [2, 3]")));
  EXPECT_THAT(OpeningWith(R"({"x":{"dtype":"F4","shape":[3],"data_offsets":[0,2]}})", 2),
              ThrowsMessage<Error>(HasSubstr("\"shape\": found [3], expected whole bytes of F4")));
}

TEST_F(SafetensorsFiles, ShapesWhoseProductOverflowsAreRefused) {
  const auto with_shape = [&](const std::string& shape) {
    return OpeningWith(R"({"x":{"dtype":"F32","shape":)" + shape + R"(,"data_offsets":[0,4]}})", 4);
  };
  EXPECT_THAT(with_shape("[4294967296, 4294967296]"),
              ThrowsMessage<Error>(HasSubstr(
                  "\"shape\": found [4294967296, 4294967296], expected sizes whose product "
                  "fits")));
  EXPECT_THAT(with_shape("[9223372036854775807]"),
              ThrowsMessage<Error>(HasSubstr("expected sizes whose product fits")));
  EXPECT_THAT(with_shape("[-1]"),
              ThrowsMessage<Error>(HasSubstr("found [-1], expected sizes whose product fits")));
}

TEST_F(SafetensorsFiles, OverlappingTensorsAreRefused) {
  EXPECT_THAT(OpeningWith(R"({"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]},
                              "a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})",
                          12),
              ThrowsMessage<Error>(
                  HasSubstr("found the tensors a and b overlapping, expected disjoint data")));
  EXPECT_THAT(OpeningWith(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},
                              "b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})",
                          8),
              ThrowsMessage<Error>(HasSubstr("found the tensors a and b overlapping")));
}

TEST_F(SafetensorsFiles, EveryByteHasToBelongToATensor) {
  constexpr std::string_view kHeader = R"({"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";
  EXPECT_THAT(
      OpeningWith(kHeader, 9),
      ThrowsMessage<Error>(HasSubstr("found 9 bytes of data, expected 8 as its header says")));
  EXPECT_THAT(OpeningWith(kHeader, 7),
              ThrowsMessage<Error>(HasSubstr("within the 7 bytes of data")));
  EXPECT_THAT(
      OpeningWith(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},
                              "b":{"dtype":"U8","shape":[2],"data_offsets":[4,6]}})",
                  6),
      ThrowsMessage<Error>(HasSubstr("found 6 bytes of data, expected 4 as its header says")));
}

TEST_F(SafetensorsFiles, ADamagedFileIsReadOrRefusedButNeverMore) {
  WriteTensors(path(), {{"a", "F32", {2, 2}, BytesOf({1, 2, 3, 4})}, {"b", "BF16", {3}, "abcdef"}});
  const std::string whole = ReadFile(path());
  for (size_t size = 0; size < whole.size(); ++size) {
    WriteFileAtomically(path(), whole.substr(0, size));
    EXPECT_THROW(Opening()(), Error) << "cut to " << size << " bytes";
  }
  for (size_t place = 0; place < whole.size(); ++place) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string damaged = whole;
      damaged[place] = static_cast<char>(damaged[place] ^ (1 << bit));
      WriteFileAtomically(path(), damaged);
      try {
        const SafetensorsFile file(path());
        for (const std::string& name : file.names()) {
          const auto bytes = file.Contents(name).bytes;
          EXPECT_GE(bytes.data(), file.bytes().data());
          EXPECT_LE(bytes.data() + bytes.size(), file.bytes().data() + file.bytes().size());
        }
      } catch (const Error&) {
        // A refusal is as good; any other exception fails the test.
      }
    }
  }
}

TEST_F(SafetensorsFiles, APipeIsRefused) {
  ASSERT_EQ(::mkfifo(path().c_str(), 0600), 0);
  EXPECT_THAT(Opening(), ThrowsMessage<Error>(HasSubstr("found a pipe, expected a regular file")));
}

// Of names as long as those of experts; a search of all names for each of them took minutes.
TEST_F(SafetensorsFiles, AHeaderOfAHundredThousandNamesIsRead) {
  std::string header = "{";
  for (int i = 0; i < 100'000; ++i) {
    header += (i > 0 ? ",\"" : "\"") + std::string("model.layers.7.mlp.experts.") +
              std::to_string(1'000'000 + i) +
              R"(.up_proj.weight":{"dtype":"U8","shape":[1],"data_offsets":[)" + std::to_string(i) +
              "," + std::to_string(i + 1) + "]}";
  }
  WriteSafetensors(path(), header + "}", std::string(100'000, 'x'));
  const SafetensorsFile file(path());
  EXPECT_EQ(file.names().size(), 100'000u);
  EXPECT_EQ(file.Contents("model.layers.7.mlp.experts.1099999.up_proj.weight").bytes.size(), 1u);
}

}  // namespace
}  // namespace kvtune
