"""Made-up (context, continuation) pairs, and the log-probs of the continuations by transformers.

tools/make_goldens.py writes them as GOLDEN_DIR/loglikelihood.h5: /tokens u32 [total], /offsets u64
[n+1] and /score_from u32 [n] as in inputs.h5, where the continuation begins at score_from; and, as
evaluation harnesses define them, /sum f64: sum of the log-probs of its tokens, /count u64: number of
its tokens, /is_greedy u8: 1 if each of them is the most likely one. Every second continuation is
made of most likely tokens.
"""
# SPDX-License-Identifier: Apache-2.0

import h5py
import numpy
import torch

NUM_PAIRS = 200
MAX_CONTEXT, MAX_CONTINUATION = 32, 12
MIN_MARGIN = 1e-3  # of the most likely token's logit; float32's error is below 1e-5


@torch.no_grad()
def grow(model, context, length):
    """The context and its greedy continuation; None where the most likely token is not clear."""
    tokens = context
    for _ in range(length):
        best = model(tokens[None], use_cache=False).logits[0, -1].topk(2)
        if best.values[0] - best.values[1] < MIN_MARGIN:
            return None
        tokens = torch.cat([tokens, best.indices[:1]])
    return tokens


def make_pair(model, is_greedy, random):
    """Tokens of a pair, and where its continuation begins."""
    vocabulary = model.config.vocab_size
    while True:
        score_from = int(torch.randint(1, MAX_CONTEXT + 1, (), generator=random))
        length = int(torch.randint(1, MAX_CONTINUATION + 1, (), generator=random))
        tokens = torch.randint(vocabulary, (score_from + length,), generator=random)
        if is_greedy:
            tokens = grow(model, tokens[:score_from], length)
        if tokens is not None:
            return tokens, score_from


@torch.no_grad()
def judge(model, tokens, score_from):
    """Sum of the continuation's log-probs, and whether it is the greedy one."""
    logprobs = model(tokens[None], use_cache=False).logits[0].log_softmax(-1)[score_from - 1 : -1]
    continuation = tokens[score_from:]
    chosen = logprobs.gather(1, continuation[:, None])
    return chosen.double().sum().item(), bool((logprobs.argmax(-1) == continuation).all())


def write_pairs(model, path, seed):
    random = torch.Generator().manual_seed(seed)
    pairs = [make_pair(model, number % 2 == 0, random) for number in range(NUM_PAIRS)]
    answers = [judge(model, *pair) for pair in pairs]
    with h5py.File(path, "w", libver=("earliest", "v108")) as file:
        file["tokens"] = torch.cat([tokens for tokens, _ in pairs]).numpy().astype(numpy.uint32)
        file["offsets"] = numpy.cumsum([0] + [len(tokens) for tokens, _ in pairs]).astype("u8")
        file["score_from"] = numpy.array([score_from for _, score_from in pairs], numpy.uint32)
        file["sum"] = numpy.array([total for total, _ in answers])
        counts = [len(tokens) - score_from for tokens, score_from in pairs]
        file["count"] = numpy.array(counts, numpy.uint64)
        file["is_greedy"] = numpy.array([is_greedy for _, is_greedy in answers], numpy.uint8)
