"""Other programs that prefill.py measures: llama-bench of any branch of llama.cpp, and transformers."""
# SPDX-License-Identifier: Apache-2.0

import itertools
import json
import os
import subprocess
from pathlib import Path

FOLDER = Path(__file__).resolve().parent


def output_of(command, threads=1, codes=(0,)):
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run([str(word) for word in command], env=environment, text=True,
                          capture_output=True, check=False)
    if done.returncode not in codes:
        raise SystemExit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout


class LlamaBench:
    """A llama-bench with the fastest of its options: each combination is tried once.

    The options are, as far as its --help lists them: flash attention, repacking at run time, and the
    number of tokens that pass the layers together.
    """

    def __init__(self, word, threads, gguf_python):
        label, _, path = word.rpartition("=")
        self.path, self.threads, self.gguf_python = Path(path).resolve(), threads, gguf_python
        self.name = label or "llama.cpp"
        done = subprocess.run([self.path, "--help"], text=True, capture_output=True, check=False)
        self.help = done.stdout + done.stderr
        self.chosen = {}

    def flags(self, tokens):
        """Each combination of options that may be the fastest."""
        each = []
        if "-fa, --flash-attn" in self.help:
            on_off = ("on", "off") if "<on|off" in self.help.split("--flash-attn")[1][:40] else (1, 0)
            each.append([("-fa", value) for value in on_off])
        if "-rtr, --run-time-repack" in self.help:
            each.append([("-rtr", value) for value in (1, 0)])
        each.append([("-ub", size) for size in sorted({512, tokens})])
        return [list(itertools.chain(*some)) for some in itertools.product(*each)]

    def measure(self, model, tokens, flags, repeats):
        text = output_of([self.path, "-m", model, "-n", 0, "-p", tokens, "-b", max(tokens, 512),
                          "-t", self.threads, "-r", repeats, "-o", "json", *flags], self.threads)
        return float(json.loads(text)[0]["avg_ts"])

    def rate(self, shape, sizes, tokens, folder):
        """Tokens a second."""
        model = folder / f"{shape}.gguf"
        if not model.exists():
            output_of([self.gguf_python, FOLDER / "llama_model.py", model, *sizes])
        if (shape, tokens) not in self.chosen:
            self.chosen[shape, tokens] = max(
                self.flags(tokens), key=lambda flags: self.measure(model, tokens, flags, 1))
        return self.measure(model, tokens, self.chosen[shape, tokens], 3)

    def note(self, shape, tokens):
        return " ".join(map(str, self.chosen[shape, tokens]))


class Transformers:
    """Hugging Face transformers in its own Python, with its fastest experts."""

    name = "transformers"

    def __init__(self, python, threads, dtype, prompts):
        self.python, self.threads, self.dtype, self.prompts = python, threads, dtype, prompts
        self.found = {}

    def rate(self, shape, sizes, tokens, _folder):
        chosen = self.found.get((shape, tokens))
        text = output_of([self.python, FOLDER / "transformers_prefill.py", *sizes, "--tokens", tokens,
                          "--prompts", self.prompts, "--threads", self.threads, "--dtype", self.dtype,
                          *(["--experts-by", chosen["experts"]] if chosen else [])], self.threads)
        self.found[shape, tokens] = json.loads(text.splitlines()[-1])
        return self.found[shape, tokens]["tokens_per_second"]

    def note(self, shape, tokens):
        found = self.found[shape, tokens]
        return f"experts {found['experts']}; {found['versions']}"
