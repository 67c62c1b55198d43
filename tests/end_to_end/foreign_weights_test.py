"""`run --weights` on what is no weights file names what it is and what to do, with exit code 4."""
# SPDX-License-Identifier: Apache-2.0

import support

CHECKPOINT = support.SOURCE / "tests/data/goldens/mixtral-gqa/model"


def body(test):
    model = test.synth("model", "--preset", "tiny")
    text = test.folder / "text.txt"
    text.write_text("Hello.\n")
    cases = {
        CHECKPOINT: ("Hugging Face checkpoint", f"tetrarch import --from {CHECKPOINT}"),
        CHECKPOINT / "config.json": ("config of a checkpoint", "tetrarch import"),
        CHECKPOINT / "model-00001-of-00003.safetensors": ("safetensors file", "tetrarch import"),
        model: ("is a folder", f"{model}/weights.h5"),
        text: ("is a text", "text_to_inputs.py"),
        model / "inputs.h5": ("tetrarch-inputs", "tetrarch-weights"),
    }
    for number, (path, words) in enumerate(cases.items()):
        for num_ranks in (0, 2):
            result = test.run(num_ranks, (path, model / "inputs.h5"),
                              test.folder / f"{number}-{num_ranks}", code=4)
            test.equal(len(result.messages()), 1, f"messages\n{result.text}\n")
            for word in words:
                test.check(word in result.text, f"\"{word}\" is not in\n{result.text}")


if __name__ == "__main__":
    support.main(body)
