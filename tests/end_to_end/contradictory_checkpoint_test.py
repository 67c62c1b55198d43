"""Checkpoints that say two things, or leave something out: each is refused with one message and
exit code 4, or imported with a line that says what was chosen.
"""
# SPDX-License-Identifier: Apache-2.0

import h5py
import numpy

import support
from checkpoints import Folder, Tensor

GOLDENS = support.SOURCE / "tests/data/goldens"
EMBED, HEAD = "model.embed_tokens.weight", "lm_head.weight"
GATE_UP, DOWN = (f"model.layers.0.mlp.experts.{name}" for name in ("gate_up_proj", "down_proj"))
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 256}
REFUSED, TAKEN = 4, 0


def config(**keys):
    """Keys of config.json; None removes one."""
    def edit(folder):
        folder.config |= keys
        for key, value in keys.items():
            if value is None:
                del folder.config[key]
    return edit


def other(tensor):
    """Of the same shape, with other values."""
    return Tensor(tensor.dtype, tensor.shape, tensor.data[::-1])


def sharded(edit=lambda folder: None):
    def both(folder):
        folder.num_shards = 3
        edit(folder)
    return both


def tied(head):
    def edit(folder):
        folder.config["tie_word_embeddings"] = True
        folder.tensors[HEAD] = head(folder.tensors[EMBED])
    return edit


def without(name):
    return lambda folder: folder.tensors.pop(name)


def with_tensor(name, shape):
    def edit(folder):
        data = bytes(2 * int(numpy.prod(shape)))
        folder.tensors[name] = Tensor("BF16", shape, data)
    return edit


def double(value):
    """The embedding also lies in a second of three shards."""
    def edit(folder):
        folder.files[folder.other_shard(EMBED)] = {EMBED: value(folder.tensors[EMBED])}
    return sharded(edit)


def second_checkpoint(folder):
    folder.num_shards = 3
    folder.files["model.safetensors"] = {EMBED: folder.tensors[EMBED]}


def extra_file(folder):
    folder.files["consolidated.safetensors"] = {EMBED: folder.tensors[EMBED]}


def wider(*keep):
    """The tensors of these names, or all, as F32."""
    def edit(folder):
        for name, tensor in folder.tensors.items():
            if not keep or name in keep:
                folder.tensors[name] = tensor.as_f32()
    return edit


def renamed(prefix):
    def edit(folder):
        folder.tensors = {prefix + name: tensor for name, tensor in folder.tensors.items()}
    return edit


def resized(folder):
    for name in (EMBED, HEAD):
        rows = folder.tensors[name].array()
        folder.tensors[name] = Tensor.of("BF16", numpy.concatenate([rows, rows[:8]]))


def fused(edit=lambda folder: None):
    def both(folder):
        folder.fuse()
        edit(folder)
    return both


def turned(*names):
    def edit(folder):
        for name in names:
            tensor = folder.tensors[name]
            folder.tensors[name] = Tensor.of(tensor.dtype, tensor.array().swapaxes(1, 2))
    return fused(edit)


def together(*edits):
    def edit(folder):
        for one in edits:
            one(folder)
    return edit


# what: edit of the golden mixtral-gqa, exit code, words of the output, options
CASES = {
    "two dtypes": (config(torch_dtype="float32"), REFUSED, ("dtype", "torch_dtype", "contradict")),
    "two numbers of experts": (config(num_experts=4), REFUSED, ("num_local_experts = 8",)),
    "another theta beside": (config(rope_theta=10000), REFUSED, ("rope_theta = 10000", "contrad")),
    "scaling beside default parameters": (config(rope_scaling=YARN), TAKEN,
                                          ("names the type of RoPE", "max_position is 1024")),
    "a factor without a type": (config(rope_scaling={"factor": 4.0}), REFUSED, ("rope_type",)),
    "two types of RoPE": (config(rope_scaling=YARN | {"type": "linear"}), REFUSED, ("linear",)),
    "two scalings": (config(rope_scaling=YARN,
                            rope_parameters={"rope_type": "linear", "factor": 2.0}),
                     REFUSED, ("rope_scaling.factor = 4.0 and rope_parameters.factor = 2.0",)),
    "two original lengths": (config(rope_scaling=YARN, original_max_position_embeddings=128),
                             REFUSED, ("original_max_position_embeddings = 128",)),
    "no theta": (config(rope_parameters=None), TAKEN,
                 ("rope_theta is not given: 1000000 is used",)),
    "no dtype": (config(dtype=None), TAKEN,
                 ("dtype is not given: float32 is used", "BF16 (96)", "stored as f32")),
    "another class": (config(architectures=["Qwen3MoeForCausalLM"]), REFUSED, ("architectures",)),
    "another epsilon": (config(norm_eps=1e-6), REFUSED, ("norm_eps = 1e-06",)),
    "a window switched off": (config(use_sliding_window=False, sliding_window=8), REFUSED,
                              ("use_sliding_window = false",)),
    "layers with windows": (config(layer_types=["sliding_attention"] * 3), REFUSED,
                            ("layer_types",)),
    "gate weights as they are": (config(norm_topk_prob=False), REFUSED, ("norm_topk_prob",)),
    "quantised weights": (config(quantization_config={"quant_method": "fp8"}), REFUSED,
                          ("fp8", "quantised")),
    "another head size": (config(head_dim=None), REFUSED,
                          ("q_proj", "[64, 32]", "expected [32, 32]")),
    "fewer layers": (config(num_hidden_layers=2), REFUSED, ("up to layer 2", "num_hidden_layers")),
    "fewer experts": (config(num_local_experts=4), REFUSED, ("experts.7.w3.weight",)),
    "a resized vocabulary": (resized, REFUSED, ("has 104 rows", "vocab_size = 96")),
    "tied, with another head": (tied(other), REFUSED, ("--tied no", "--tied yes")),
    "tied, with another head to be kept": (tied(other), TAKEN, ("because --tied no asks",),
                                           ("--tied", "no")),
    "tied, with another head to be dropped": (tied(other), TAKEN, ("because --tied yes asks",),
                                              ("--tied", "yes")),
    "tied, with an equal head": (tied(lambda embed: embed), TAKEN, ("they are tied",)),
    "untied, without a head": (without(HEAD), REFUSED, ("has no lm_head.weight", "--tied yes")),
    "tied on demand": (without(HEAD), TAKEN, ("because --tied yes asks",), ("--tied", "yes")),
    "a name with two values": (double(other), REFUSED,
                               (EMBED, "model-00002-of-00003", "model-00003-of-00003")),
    "a name twice with one value": (double(lambda embed: embed), TAKEN, ()),
    "an index that names another shard": (
        sharded(lambda folder: folder.index_edits.update({EMBED: folder.other_shard(EMBED)})),
        REFUSED, (EMBED, "in model-00003-of-00003", "but it is in model-00002")),
    "an index that leaves a tensor out": (
        sharded(lambda folder: folder.index_edits.update({EMBED: None})), TAKEN,
        ("in the files but not in the index", EMBED)),
    "an adapter in a shard": (
        sharded(lambda folder: folder.files.update(
            {folder.shard_name(2): {"x.lora_A.weight": folder.tensors[EMBED]}})), REFUSED,
        ("x.lora_A.weight", "merge_and_unload")),
    "an adapter in a single file": (with_tensor("x.lora_A.weight", [4, 32]), REFUSED,
                                    ("x.lora_A.weight", "merge_and_unload")),
    "two checkpoints": (second_checkpoint, REFUSED, ("two checkpoints",)),
    "a file beside": (extra_file, TAKEN, ("consolidated.safetensors left out",)),
    "frequencies": (with_tensor("model.rotary_emb.inv_freq", [4]), TAKEN,
                    ("left out, because no computation needs them", "inv_freq")),
    "tensors of another type": (wider(), TAKEN,
                                ("type F32 (96), config.json says bfloat16", "rounded")),
    "tensors of two types": (wider(EMBED), TAKEN, ("F32 (1), BF16 (95)", "rounded")),
    "another prefix": (renamed("base_model.model."), REFUSED, ("PEFT", "base_model.model.model.")),
    "experts twice": (fused(with_tensor("model.layers.1.mlp.experts.0.w1.weight", [32, 32])),
                      REFUSED, ("layer 1", "tensors of single experts")),
    "half of the experts fused": (fused(without(DOWN)), REFUSED, ("missing", DOWN)),
    "a square pair, transposed with the other": (
        together(config(intermediate_size=16), fused(lambda folder: folder.tensors.update({
            f"model.layers.{layer}.mlp.experts.{name}": Tensor("BF16", shape, bytes(2 * 8 * n))
            for layer in range(3) for name, shape, n in (("gate_up_proj", [8, 32, 32], 1024),
                                                         ("down_proj", [8, 16, 32], 512))}))),
        REFUSED, (DOWN, "are transposed")),
    "another score": (config(scoring_func="sigmoid"), REFUSED, ("scoring_func", "sigmoid")),
    "another class, as a text": (config(architectures="Qwen3MoeForCausalLM"), REFUSED,
                                 ("architectures",)),
    "a key that no RoPE reads": (config(rope_scaling=YARN | {"attn_factor": 1.5}), TAKEN,
                                 ("rope_scaling.attn_factor = 1.5 is not used",)),
    "a type that is not computed": (config(rope_scaling={"type": "dynamic", "factor": 2.0}),
                                    REFUSED, ("dynamic",)),
    "a head size by default, and another in the tensors": (
        config(head_dim=None), REFUSED, ("head_dim is not given: 4 is used",)),
    "a tensor of zeros": (
        lambda folder: folder.tensors.update({EMBED: Tensor(
            "BF16", folder.tensors[EMBED].shape, bytes(len(folder.tensors[EMBED].data)))}),
        TAKEN, ("/embed", "have only zeros", "download")),
    "a transposed pair": (turned(GATE_UP), REFUSED, (GATE_UP, "are transposed")),
}


def body(test):
    for number, (what, (edit, code, words, *options)) in enumerate(CASES.items()):
        folder = Folder(GOLDENS / "mixtral-gqa/model")
        edit(folder)
        path = folder.write(test.folder / f"checkpoint-{number}")
        out = test.folder / f"out-{number}"
        out.mkdir()
        result = test.tetrarch("import", "--from", path, "--out", out / "w.h5",
                               *(options[0] if options else ()), code=code)
        for word in words:
            test.check(word in result.text, f"{what}: \"{word}\" is not in\n{result.text}")
        test.equal(len(result.messages()), 0 if code == TAKEN else 1, f"messages, {what}")
        test.equal([file.name for file in out.iterdir()], ["w.h5"] if code == TAKEN else [],
                   f"files, {what}")
        print(f"     {what}: {(result.messages() or result.text.splitlines())[0]}", flush=True)
    for golden in ("mixtral-gqa", "qwen3-moe-a", "qwen3-moe-b", "qwen3-moe-c"):
        same_weights(test, golden)


def weights_of(test, folder, name):
    path = folder.write(test.folder / name)
    test.tetrarch("import", "--from", path, "--out", test.folder / f"{name}.h5")
    found = {}
    with h5py.File(test.folder / f"{name}.h5", "r") as file:
        file.visititems(lambda key, thing: found.update({key: thing[()].tobytes()})
                        if isinstance(thing, h5py.Dataset) else None)
        return found | {"config": file.attrs["config_json"]}


def same_weights(test, golden):
    """Experts one by one, fused, and fused in shards are the same file."""
    found = {}
    for kind in ("plain", "fused", "shards"):
        folder = Folder(GOLDENS / golden / "model")
        if kind != "plain":
            folder.fuse()
        folder.num_shards = 3 if kind == "shards" else 1
        found[kind] = weights_of(test, folder, f"{golden}-{kind}")
    for kind in ("fused", "shards"):
        test.check(found[kind] == found["plain"], f"{golden}: {kind} gives other weights")
    test.check(len(found["plain"]) > 20, f"{golden}: {len(found['plain'])} datasets")


if __name__ == "__main__":
    support.main(body)
