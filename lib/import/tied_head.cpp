// Decides whether the head of a checkpoint is its embedding.
// SPDX-License-Identifier: Apache-2.0
#include "import/tied_head.hpp"

#include <fmt/format.h>

namespace tetrarch::hf {
namespace {

using base::ExitCode;
using base::Refusal;

constexpr const char* head_name = "lm_head.weight";
constexpr const char* embed_name = "model.embed_tokens.weight";

bool obey(const Checkpoint& checkpoint, bool asked, bool config_says, bool has_head, bool differ,
          std::vector<std::string>& remarks) {
  if (!asked && !has_head)
    throw Refusal(ExitCode::weights,
                  fmt::format("{}: has no {}, but --tied no needs one. Leave out --tied no.",
                              checkpoint.folder(), head_name));
  if (asked && differ)
    remarks.push_back(fmt::format(
        "{} is left out although it differs from the embedding, because --tied yes asks for that.",
        head_name));
  if (!asked && config_says)
    remarks.push_back(fmt::format(
        "{} is the head although tie_word_embeddings is true, because --tied no asks for that.",
        head_name));
  if (asked && !has_head && !config_says)
    remarks.push_back("the embedding is the head, because --tied yes asks for that.");
  return asked;
}

}  // namespace

bool is_head_tied(const Checkpoint& checkpoint, bool config_says, std::optional<bool> asked,
                  std::vector<std::string>& remarks) {
  const StoredTensor *head = checkpoint.find(head_name), *embed = checkpoint.find(embed_name);
  const bool differ = head && embed && !checkpoint.are_equal(*head, *embed);
  if (asked) return obey(checkpoint, *asked, config_says, head != nullptr, differ, remarks);
  if (config_says && differ)
    throw Refusal(ExitCode::weights,
                  fmt::format("{}: config.json says tie_word_embeddings = true, but {} differs "
                              "from {}. Use --tied no to keep the file's own head, or --tied yes "
                              "to use the embedding instead and leave {} out.",
                              checkpoint.folder(), head_name, embed_name, head_name));
  if (!config_says && !head && embed)
    throw Refusal(ExitCode::weights,
                  fmt::format("{}: has no {}, and config.json does not say tie_word_embeddings = "
                              "true. Use --tied yes if the embedding is its head, else download or "
                              "save the checkpoint again, with its head.",
                              checkpoint.folder(), head_name));
  if (config_says && head && embed)
    remarks.push_back(
        fmt::format("{} equals {}: they are tied, and stored once.", head_name, embed_name));
  if (config_says && head && !embed)
    remarks.push_back(fmt::format("{} is missing: {} is used for both, because they are tied.",
                                  embed_name, head_name));
  return config_says;
}

}  // namespace tetrarch::hf
