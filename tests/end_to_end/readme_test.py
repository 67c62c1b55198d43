"""The snippets of README.md as they stand, run one after another in a scratch folder."""
# SPDX-License-Identifier: Apache-2.0

import os
import re
import subprocess
import sys

import support

README = support.SOURCE / "README.md"
MODEL = "/path/to/Mixtral-8x7B-v0.1"  # the one thing that a reader must put in


def blocks():
    """(language, text) of the fenced blocks below "A first run"."""
    section = README.read_text().split("\n## A first run\n")[1].split("\n## ")[0]
    return re.findall(r"^```(\w*)\n(.*?)^```", section, re.MULTILINE | re.DOTALL)


def run(test, words, text, what):
    """The snippet ends well; what it printed."""
    environment = {**support.environment(1), "OMPI_ALLOW_RUN_AS_ROOT": "1",
                   "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
                   "PATH": os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"]}
    done = subprocess.run([*words, text], cwd=test.folder, env=environment, timeout=200,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True)
    test.equal(done.returncode, 0, f"exit code of {what}\n{text}\n{done.stdout}")
    print(f"{what}:\n{done.stdout}", flush=True)
    return done.stdout


def body(test):
    place = test.folder / "build/cpu-release/app"
    place.mkdir(parents=True)
    (place / "tetrarch").symlink_to(test.program)
    for name in ("tools", "inputs"):
        (test.folder / name).symlink_to(support.SOURCE / name)
    checkpoint = support.SOURCE / "tests/data/goldens/mixtral-gqa/model"

    first, own, lines, python = blocks()
    test.equal([language for language, _ in (first, own, lines, python)], ["", "", "", "python"],
               "the blocks of the first run")

    bash = ("bash", "-euc")
    text = run(test, bash, first[1], "the first run")
    test.check("tetrarch-results" in text and "64 sequences" in text, text)

    test.check(MODEL in own[1], own[1])
    head = first[1].splitlines()[0] + "\n"  # T=...
    run(test, bash, head + own[1].replace(MODEL, str(checkpoint)), "an own model and text")
    test.tetrarch("verify", test.folder / "mixtral.h5")
    test.tetrarch("verify", test.folder / "text.h5")

    (test.folder / "lines.jsonl").write_text(lines[1])
    test.run(1, (test.folder / "demo/weights.h5", test.folder / "lines.jsonl"),
             test.folder / "of-lines", "--tokenizer", "bytes")

    text = run(test, (sys.executable, "-c"), python[1], "reading the results")
    test.check("bf16" not in text and len(text.splitlines()) > 2, text)


if __name__ == "__main__":
    support.main(body)
