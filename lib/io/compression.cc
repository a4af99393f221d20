#include "lib/io/compression.h"

#include <fmt/format.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <array>
#include <climits>
#include <memory>
#include <utility>

#include "lib/base/error.h"

namespace kvtune {
namespace {

bool IsGzip(std::string_view bytes) { return bytes.starts_with("\x1f\x8b"); }

// Of a frame with data, or of one that readers skip.
bool IsZstd(std::string_view bytes) {
  if (bytes.starts_with("\x28\xb5\x2f\xfd")) return true;
  return bytes.size() >= 4 && (static_cast<unsigned char>(bytes[0]) & 0xf0) == 0x50 &&
         bytes.substr(1).starts_with("\x2a\x4d\x18");
}

// What was decompressed so far of a file of so many bytes.
class BoundedText {
 public:
  BoundedText(size_t compressed, const std::string& source)
      : most_(kFreeDecompressedBytes + compressed * kMostBytesPerCompressed), source_(source) {}

  void Append(std::string_view block) {
    if (block.size() > most_ - text_.size()) {
      throw Error(fmt::format(
          "reading {}: found a file that decompresses to over {} bytes, expected at most {} times "
          "its size and 1 MiB",
          source_, most_, kMostBytesPerCompressed));
    }
    text_.append(block);
  }

  std::string Take() { return std::move(text_); }

 private:
  size_t most_;
  const std::string& source_;
  std::string text_;
};

std::string Unzstd(std::string_view bytes, const std::string& source) {
  const auto fail = [&](std::string_view found) {
    throw Error(fmt::format("reading {}: found {}, expected a whole zstd file", source, found));
  };
  const std::unique_ptr<ZSTD_DStream, decltype(&ZSTD_freeDStream)> stream(ZSTD_createDStream(),
                                                                          &ZSTD_freeDStream);
  if (!stream) fail("no memory to decompress it");
  BoundedText text(bytes.size(), source);
  std::string block(ZSTD_DStreamOutSize(), '\0');
  ZSTD_inBuffer input{bytes.data(), bytes.size(), 0};
  size_t wanted = 0;  // 0 at the end of a frame
  bool is_full = false;
  while (input.pos < input.size || is_full) {
    ZSTD_outBuffer output{block.data(), block.size(), 0};
    wanted = ZSTD_decompressStream(stream.get(), &output, &input);
    if (ZSTD_isError(wanted) != 0) fail("damaged data");
    text.Append({block.data(), output.pos});
    is_full = output.pos == output.size && wanted != 0;
  }
  if (wanted != 0) fail("an early end");
  return text.Take();
}

std::string Gunzip(std::string_view bytes, const std::string& source) {
  const auto fail = [&](std::string_view found) {
    throw Error(fmt::format("reading {}: found {}, expected a whole gzip file", source, found));
  };
  constexpr int kGzipWindow = 15 + 16;  // the largest window, and a gzip header
  z_stream stream = {};
  if (inflateInit2(&stream, kGzipWindow) != Z_OK) fail("no memory to decompress it");
  const std::unique_ptr<z_stream, decltype(&inflateEnd)> owner(&stream, &inflateEnd);
  BoundedText text(bytes.size(), source);
  std::array<char, 1 << 16> block;
  while (!bytes.empty()) {
    const size_t given = std::min<size_t>(bytes.size(), UINT_MAX);
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
    stream.avail_in = static_cast<uInt>(given);
    int status = Z_OK;
    do {
      stream.next_out = reinterpret_cast<Bytef*>(block.data());
      stream.avail_out = static_cast<uInt>(block.size());
      status = inflate(&stream, Z_NO_FLUSH);
      if (status != Z_OK && status != Z_STREAM_END && status != Z_BUF_ERROR) fail("damaged data");
      text.Append({block.data(), block.size() - stream.avail_out});
    } while (status == Z_OK && stream.avail_out == 0);
    bytes.remove_prefix(given - stream.avail_in);
    if (status == Z_STREAM_END) {  // another member may follow
      if (bytes.empty()) return text.Take();
      if (!IsGzip(bytes)) fail("other bytes behind its end");
      inflateReset(&stream);
    } else if (stream.avail_in == given || bytes.empty()) {
      fail("an early end");
    }
  }
  return text.Take();
}

}  // namespace

bool IsCompressed(std::string_view bytes) { return IsGzip(bytes) || IsZstd(bytes); }

std::string Decompress(std::string_view bytes, const std::string& source) {
  return IsGzip(bytes) ? Gunzip(bytes, source) : Unzstd(bytes, source);
}

}  // namespace kvtune
