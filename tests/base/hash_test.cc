#include "lib/base/hash.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace kvtune {
namespace {

std::span<const std::byte> Bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

TEST(Hash, DigestIsNamedAndOfFixedLength) {
  // Not by MatchesRegex: Oniguruma takes the place of the system's functions that it calls.
  EXPECT_EQ(HashOf("kvtune").find_first_not_of("0123456789abcdef", 5), std::string::npos);
  EXPECT_THAT(HashOf("kvtune"), ::testing::StartsWith("xxh3:"));
  EXPECT_EQ(HashOf("kvtune").size(), 5u + 32u);
  // XXH3-128 of nothing, from the reference implementation.
  EXPECT_EQ(HashOf(""), "xxh3:99aa06d3014798d86001c324468d497f");
}

TEST(Hash, PiecesGiveTheHashOfTheWhole) {
  ContentHash hash;
  hash.Update(Bytes("one "));
  hash.Update(Bytes(""));
  hash.Update(Bytes("piece"));
  EXPECT_EQ(hash.Digest(), HashOf("one piece"));
}

TEST(Hash, FieldsKeepTheirBorders) {
  const auto of_fields = [](std::string_view a, std::string_view b) {
    ContentHash hash;
    hash.UpdateField(a);
    hash.UpdateField(b);
    return hash.Digest();
  };
  EXPECT_NE(of_fields("ab", "c"), of_fields("a", "bc"));
  EXPECT_EQ(of_fields("ab", "c"), of_fields("ab", "c"));
}

TEST(Hash, OneBitChangesTheDigest) { EXPECT_NE(HashOf("plan a"), HashOf("plan b")); }

}  // namespace
}  // namespace kvtune
