#include "lib/base/mapped_file.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <mutex>

#include "lib/base/error.h"
#include "lib/base/file.h"
#include "lib/base/system_calls.h"

namespace kvtune {
namespace {

// One mapping, as the signal handler sees it. Entries are never freed, because the handler may be
// reading the list; one whose file is closed is used again.
struct Mapping {
  std::atomic<uintptr_t> begin = 0;  // 0: free
  std::atomic<uintptr_t> end = 0;
  std::atomic<bool> is_damaged = false;
  Mapping* next = nullptr;
};
static_assert(std::atomic<uintptr_t>::is_always_lock_free, "used in a signal handler");

std::atomic<Mapping*> mappings = nullptr;
std::mutex adding;
std::atomic<uintptr_t> page_bytes = 4096;

// The system sends SIGBUS to a thread that touches a page which a file no longer has, or whose
// sector cannot be read. The rest of the mapping becomes zeros, so that the thread can go on to the
// place where RequireUnchanged throws. systemd reads its journals in the same way
// (src/basic/sigbus.c). Only async-signal-safe calls.
void HandleBusError(int, siginfo_t* info, void*) {
  const int saved = errno;
  const auto address = reinterpret_cast<uintptr_t>(info->si_addr);
  for (Mapping* mapping = mappings.load(); mapping != nullptr; mapping = mapping->next) {
    const uintptr_t begin = mapping->begin.load(), end = mapping->end.load();
    if (address < begin || address >= end) continue;
    mapping->is_damaged.store(true);  // first, so that no thread takes the zeros for content
    const uintptr_t page = address / page_bytes * page_bytes;
    if (::mmap(reinterpret_cast<void*>(page), end - page, PROT_READ,
               MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED) {
      break;
    }
    errno = saved;
    return;
  }
  // Not ours: the instruction runs again and ends the process, as it would have without us.
  ::signal(SIGBUS, SIG_DFL);
}

void InstallHandlerOnce() {
  static std::once_flag once;
  std::call_once(once, [] {
    page_bytes = static_cast<uintptr_t>(::sysconf(_SC_PAGE_SIZE));
    struct sigaction action = {};
    action.sa_sigaction = HandleBusError;
    action.sa_flags = SA_SIGINFO | SA_RESTART;
    ::sigaction(SIGBUS, &action, nullptr);
  });
}

Mapping& Add(std::span<const std::byte> bytes) {
  InstallHandlerOnce();
  const std::lock_guard lock(adding);
  Mapping* mapping = mappings.load();
  while (mapping != nullptr && mapping->begin != 0) mapping = mapping->next;
  if (mapping == nullptr) {
    mapping = new Mapping;
    mapping->next = mappings.load();
    mappings.store(mapping);
  }
  const auto begin = reinterpret_cast<uintptr_t>(bytes.data());
  mapping->is_damaged = false;
  mapping->end = (begin + bytes.size() + page_bytes - 1) / page_bytes * page_bytes;
  mapping->begin = begin;
  return *mapping;
}

struct stat StatusOf(const FileDescriptor& file, const std::filesystem::path& path) {
  struct stat status = {};
  if (::fstat(file.get(), &status) != 0) {
    throw Error(fmt::format("reading {}: {}", path.string(), std::strerror(errno)));
  }
  return status;
}

}  // namespace

struct MappedFile::State {
  FileDescriptor file;
  struct stat opened = {};
  Mapping* mapping = nullptr;  // null for an empty file
};

MappedFile::MappedFile(const std::filesystem::path& path) : path_(path) {
  state_ = std::make_unique<State>(State{OpenForReading(path, "opening")});
  state_->opened = StatusOf(state_->file, path);
  const auto size = static_cast<size_t>(state_->opened.st_size);
  if (size == 0) return;
  void* address = MapFile(state_->file.get(), size, PROT_READ, MAP_PRIVATE);
  if (address == MAP_FAILED) {
    throw Error(fmt::format("mapping {}: {}", path.string(), std::strerror(errno)));
  }
  bytes_ = {static_cast<const std::byte*>(address), size};
  state_->mapping = &Add(bytes_);
}

MappedFile::~MappedFile() {
  if (bytes_.empty()) return;
  const std::lock_guard lock(adding);
  state_->mapping->begin = 0;
  ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

void MappedFile::RequireUnchanged() const {
  const struct stat now = StatusOf(state_->file, path_);
  const struct stat& opened = state_->opened;
  const auto fail = [&](const std::string& found) {
    throw Error(
        fmt::format("reading {}: found {}, expected a file that nothing writes while it is read",
                    path_.string(), found));
  };
  if (now.st_size != opened.st_size) {
    fail(fmt::format("{} bytes, {} when it was opened", now.st_size, opened.st_size));
  }
  if (now.st_mtim.tv_sec != opened.st_mtim.tv_sec ||
      now.st_mtim.tv_nsec != opened.st_mtim.tv_nsec) {
    fail("that it was written since it was opened");
  }
  if (state_->mapping != nullptr && state_->mapping->is_damaged) {
    fail("pages that could not be read");
  }
}

void DropPages(std::span<const std::byte> bytes) {
  if (bytes.empty()) return;
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGE_SIZE));
  const auto address = reinterpret_cast<uintptr_t>(bytes.data());
  const uintptr_t begin =
      address / page * page;  // only whole pages can go; a neighbour on the page is read again
  // A failure leaves the pages where they are, which costs memory and nothing else.
  ::madvise(reinterpret_cast<void*>(begin), address + bytes.size() - begin, MADV_DONTNEED);
}

}  // namespace kvtune
