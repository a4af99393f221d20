#include "lib/io/gzip.h"

#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <climits>
#include <memory>

#include "lib/base/error.h"

namespace kvtune {

bool IsGzip(std::string_view bytes) { return bytes.starts_with("\x1f\x8b"); }

std::string Gunzip(std::string_view bytes, const std::string& source) {
  const auto fail = [&](std::string_view found) {
    throw Error(fmt::format("reading {}: found {}, expected a whole gzip file", source, found));
  };
  constexpr int kGzipWindow = 15 + 16;  // the largest window, and a gzip header
  z_stream stream = {};
  if (inflateInit2(&stream, kGzipWindow) != Z_OK) fail("no memory to decompress it");
  const std::unique_ptr<z_stream, decltype(&inflateEnd)> owner(&stream, &inflateEnd);
  std::string text;
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
      text.append(block.data(), block.size() - stream.avail_out);
    } while (status == Z_OK && stream.avail_out == 0);
    bytes.remove_prefix(given - stream.avail_in);
    if (status == Z_STREAM_END) {  // another member may follow
      if (bytes.empty()) return text;
      if (!IsGzip(bytes)) fail("other bytes behind its end");
      inflateReset(&stream);
    } else if (stream.avail_in == given || bytes.empty()) {
      fail("an early end");
    }
  }
  return text;
}

}  // namespace kvtune
