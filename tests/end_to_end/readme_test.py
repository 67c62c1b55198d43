"""What the READMEs show is true: snippets run as they stand, tables and paths agree with the program.

Fenced blocks have a language. bash and python are run in order in a scratch folder, of the sections
listed below. The first json block of inputs/README.md becomes lines.jsonl, the second is the
configuration of the preset tiny. Lines of a text block must stand in what the block before printed,
but for their numbers. sh is shown and not run; its syntax is checked, as that of bash is.
"""
# SPDX-License-Identifier: Apache-2.0

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys

import h5py

import support

MODEL = "/path/to/Mixtral-8x7B-v0.1"  # the one thing that a reader must put in
CHECKPOINT = support.SOURCE / "tests/data/goldens/mixtral-gqa/model"
RUN = {  # sections of which the blocks are run
    "README.md": ("A first run", "Your own model and data", "Results"),
    "inputs/README.md": ("Examples",),
    "jobs/README.md": ("More ranks than cores",),
}
# Stands in for the package tokenizers where that is not installed: bytes, folded into 96 ids.
TOKENIZERS = '''
class Tokenizer:
    @classmethod
    def from_file(cls, path):
        open(path).close()
        return cls()

    def encode(self, text):
        encoding = type("Encoding", (), {})()
        encoding.ids = [byte % 96 for byte in text.encode()]
        return encoding
'''


def readmes():
    """Path from the root -> text, of every README."""
    paths = [support.SOURCE / "README.md"]
    for folder in ("inputs", "jobs", "lib", "tests"):
        paths += sorted((support.SOURCE / folder).rglob("README.md"))
    return {str(path.relative_to(support.SOURCE)): path.read_text() for path in paths}


def sections(text):
    """Title of each part of level 2 -> its text."""
    outside = re.split(r"^## (.*)\n", text, flags=re.MULTILINE)
    return dict(zip(outside[1::2], outside[2::2]))


def blocks(text):
    """(language, text) of the fenced blocks."""
    return re.findall(r"^```(\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def without_numbers(text):
    return {re.sub(r"[\d.,]+", "#", " ".join(line.split())) for line in text.splitlines()}


class Reader:
    """A user who types what a README shows, in a folder with what a checkout and a build have."""

    def __init__(self, test, name):
        self.test, self.name, self.folder = test, name, test.folder / name.replace("/", "-")
        (self.folder / "build/cpu-release/app").mkdir(parents=True)
        (self.folder / "build/cpu-release/app/tetrarch").symlink_to(test.program)
        for part in ("tools", "inputs"):
            (self.folder / part).symlink_to(support.SOURCE / part)
        self.model = self.folder / "checkpoint"
        shutil.copytree(CHECKPOINT, self.model)
        (self.model / "tokenizer.json").write_text("{}")
        modules = self.folder / "modules"
        modules.mkdir()
        (modules / "tokenizers.py").write_text(TOKENIZERS)
        self.environment = {
            **support.environment(1), "OMPI_ALLOW_RUN_AS_ROOT": "1",
            "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "PYTHONPATH": str(modules),
            "PATH": os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"]}
        self.printed = ""

    def run(self, language, text):
        words = (sys.executable, "-c") if language == "python" else ("bash", "-euc")
        if language == "bash" and not text.startswith("T="):
            text = "T=build/cpu-release/app/tetrarch\n" + text
        done = subprocess.run([*words, text.replace(MODEL, str(self.model))], cwd=self.folder,
                              env=self.environment, timeout=200, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.test.equal(done.returncode, 0, f"{self.name}: exit code of\n{text}\n{done.stdout}")
        self.printed = done.stdout

    def read(self, language, text):
        if language in ("bash", "python"):
            self.run(language, text)
        elif language == "json":
            (self.folder / "lines.jsonl").write_text(text)
        elif language == "text":
            for line in sorted(without_numbers(text) - without_numbers(self.printed)):
                raise support.Failed(f"{self.name}: \"{line}\" is not in\n{self.printed}")
            self.test.check(text.strip(), f"{self.name}: an empty block of text")


def check_syntax(test, name, text):
    for language, block in blocks(text):
        test.check(language, f"{name}: a block without a language\n{block}")
        if language in ("bash", "sh"):
            done = subprocess.run(["bash", "-n"], input=block, text=True, capture_output=True)
            test.equal(done.returncode, 0, f"{name}: bash -n of\n{block}{done.stderr}")


def anchors(text):
    """What links to the headings of a README are called."""
    headings = re.findall(r"^#+ (.*)", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def check_paths(test, name, text):
    """Links and names of files in backticks lead somewhere: from the README's folder or the root."""
    folder = (support.SOURCE / name).parent
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    links = []
    for link, anchor in re.findall(r"\]\(([^)#]*)#?([^)]*)\)", prose):
        links += [link] if link else []
        target = folder / link if link else support.SOURCE / name
        test.check(not anchor or (target.is_file() and anchor in anchors(target.read_text())),
                   f"{name}: there is no {link}#{anchor}")
    files = [word for word in re.findall(r"`((?:[\w.-]+/)+[\w.-]+)`", prose)
             if re.search(r"\.(cpp|hpp|py|sh|txt|ini|md|c)$", word)
             and not re.search(r"\b(X|NAME|FILE|ROOM|RUN_DIR)(\b|_)", word)]
    for word in links + files:
        places = (folder / word, support.SOURCE / word)
        test.check(any(place.exists() for place in places), f"{name}: there is no {word}")


def check_options(test, text):
    """The tables of inputs/README.md and --help name the same options."""
    parts = re.split(r"^### (.*)\n", sections(text)["Command line"], flags=re.MULTILINE)
    tables = dict(zip(parts[1::2], parts[2::2]))
    for subcommand in ("run", "synth", "import"):
        rows = "\n".join(re.findall(r"^\| (`--.*?) \|", tables[subcommand], re.MULTILINE))
        shown = set(re.findall(r"--[a-z-]+", rows))
        told = set(re.findall(r"^  (--[a-z-]+) ", test.tetrarch(subcommand, "--help").text,
                              re.MULTILINE)) - {"--help"}
        test.equal(shown, told, f"options of {subcommand}")


def check_exit_codes(test, text):
    rows = re.findall(r"^\| (\d+) \|", sections(text)["Exit codes"], re.MULTILINE)
    enum = (support.SOURCE / "lib/base/error.hpp").read_text().split("enum class ExitCode")[1]
    codes = re.findall(r"^  \w+ = (\d+),", enum.split("};")[0], re.MULTILINE)
    test.equal(sorted(rows), sorted(codes), "exit codes")


def check_datasets(test, text):
    """The tables of weights.h5 and results.h5 name the datasets that files have, and no others."""
    parts = sections(text)
    model = test.synth("model", "--preset", "tiny")
    test.run(2, model, test.folder / "everything", *support.EVERYTHING)
    for path, title in ((test.folder / "everything/results.h5", "results.h5"),
                        (model / "weights.h5", "weights.h5")):
        names = []
        with h5py.File(path) as file:
            file.visititems(lambda name, thing, to=names: to.append("/" + name)
                            if isinstance(thing, h5py.Dataset) else None)
            config = json.loads(file.attrs["config_json"])
        found = {re.sub(r"/\d\d\b", "/NN", name) for name in names if not name.endswith(".xxh3")}
        rows = re.findall(r"^\| (`/.*?) \|", parts[title], re.MULTILINE)
        shown = set(re.findall(r"`(/[\w/]+)`", "\n".join(rows)))
        absent = {"/layers/NN/q_norm", "/layers/NN/k_norm"} & shown  # of a model without them
        test.equal(found, shown - absent, f"datasets of {title}")
    documented = dict(blocks(parts["weights.h5"]))["json"]
    test.equal(config, json.loads(documented), "config_json of tiny")


def body(test):
    print("tokenizers: a stand-in" + (", though the package is here"
                                      if importlib.util.find_spec("tokenizers") else ""))
    texts = readmes()
    for name, text in texts.items():
        check_syntax(test, name, text)
        check_paths(test, name, text)
    for name, titles in RUN.items():
        reader, parts = Reader(test, name), sections(texts[name])
        for title in titles:
            for language, block in blocks(parts[title]):
                reader.read(language, block)
        print(f"ran  the snippets of {name}", flush=True)
    contract = texts["inputs/README.md"]
    for check in (check_options, check_exit_codes, check_datasets):
        check(test, contract)


if __name__ == "__main__":
    support.main(body)
