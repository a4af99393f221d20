#include "lib/core/schema.h"

#include <fmt/format.h>

#include <array>
#include <nlohmann/json.hpp>

#include "lib/base/error.h"
#include "lib/base/version.h"

namespace kvtune {
namespace {

// In the order of Artifact. A change of meaning raises kSchemaVersion and gives every row a step,
// so that a release reads the files of the release before it; the change's own row converts, the
// others stay with nullptr. Where nothing can be converted, the row's `oldest` is raised instead.
constexpr std::array kKinds = {
    ArtifactKind{.name = "run.json", .made_by = "kvtune calibrate"},
    ArtifactKind{.name = "sensitivity.json", .made_by = "kvtune calibrate"},
    ArtifactKind{.name = "diagnosis.json", .made_by = "kvtune calibrate"},
    ArtifactKind{.name = "candidates.json", .made_by = "kvtune prune"},
    ArtifactKind{.name = "groups.json", .made_by = "kvtune cluster"},
    ArtifactKind{.name = "front.json", .made_by = "kvtune search"},
    ArtifactKind{.name = "a plan", .made_by = "kvtune pareto export --format json"},
    ArtifactKind{.name = "a gate config", .made_by = "kvtune check --init"},
    ArtifactKind{.name = "a baseline", .made_by = "kvtune check --update-baseline"},
    ArtifactKind{.name = "latency.json", .made_by = "kvtune bench --out latency.json"},
};
static_assert(kKinds.size() == static_cast<size_t>(Artifact::kLatency) + 1);

std::string Readable(const ArtifactKind& kind) {
  if (kind.oldest == kind.newest()) return fmt::format("{}", kind.newest());
  return fmt::format("{} to {}", kind.oldest, kind.newest());
}

}  // namespace

const ArtifactKind& KindOf(Artifact artifact) { return kKinds.at(static_cast<size_t>(artifact)); }

std::span<const ArtifactKind> ArtifactKinds() { return kKinds; }

Json Upgraded(Json json, const ArtifactKind& kind, const std::string& source) {
  constexpr const char* kField = "schema_version";
  if (!json.is_object() || !json.contains(kField) || !json[kField].is_number_integer()) return json;
  const auto found = json[kField].get<int64_t>();
  if (found > kind.newest()) {
    throw Error(
        fmt::format("{}: \"{}\": found {}, expected {}: a newer kvtune than {} wrote the file",
                    source, kField, found, Readable(kind), Version()));
  }
  if (found < kind.oldest) {
    throw Error(fmt::format("{}: \"{}\": found {}, expected {}: `{}` writes the file anew", source,
                            kField, found, Readable(kind), kind.made_by));
  }
  for (int64_t version = found; version < kind.newest(); ++version) {
    const SchemaStep step = kind.steps[static_cast<size_t>(version - kind.oldest)];
    if (step != nullptr) step(json);
    json[kField] = version + 1;
  }
  return json;
}

}  // namespace kvtune
