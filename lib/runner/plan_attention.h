// The attention of one layer under all plans of a tree.
#pragma once

#include <cstddef>

#include "lib/runner/decoder.h"
#include "lib/runner/plan_pass.h"
#include "lib/runner/plan_tree.h"

namespace kvtune {

// Computes the attention of nodes of one layer over what each of them stores. `first_node` is the
// place of nodes[0] among all nodes of the layer. qkv: exact, of the nodes' parents [parents,
// heads, tokens, head_dim]. The queries of pass.earlier have no results: [nodes, tokens behind
// them, query_heads * value_head_dim].
at::Tensor AttendNodes(const Decoder& decoder, size_t layer, const PlanTreeLayer& nodes,
                       size_t first_node, const PlanPass& pass, const QueryKeyValue& qkv);

}  // namespace kvtune
