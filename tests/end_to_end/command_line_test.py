"""The command line as scripts see it: exit codes, messages, help, build information.

    command_line_test.py TETRARCH [unittest options]
"""
# SPDX-License-Identifier: Apache-2.0

import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

PROGRAM = sys.argv.pop(1) if len(sys.argv) > 1 else "tetrarch"
SOURCE = Path(__file__).resolve().parents[2]
SUBCOMMANDS = ["run", "synth", "import", "inspect", "verify", "merge"]
NEEDED = ["--weights", "w.h5", "--inputs", "i.h5", "--out", "o"]
LAUNCHERS = ("OMPI_", "PMIX_", "PMI_", "SLURM_")


def tetrarch(*arguments, rank=None):
    environment = {k: v for k, v in os.environ.items() if not k.startswith(LAUNCHERS)}
    if rank is not None:
        environment.update(SLURM_PROCID=str(rank), SLURM_STEP_NUM_TASKS="2")
    return subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, timeout=60,
                          env=environment, check=False)


class CommandLine(unittest.TestCase):
    def refused(self, arguments, *words, code=2):
        """Exit code 2, nothing on stdout, one message that has all these words."""
        result = tetrarch(*arguments)
        self.assertEqual(result.returncode, code, result.stderr)
        self.assertEqual(result.stdout, "")
        self.assertTrue(result.stderr.startswith("tetrarch: "), result.stderr)
        self.assertEqual(result.stderr.count("tetrarch: "), 1, result.stderr)
        for word in words:
            self.assertIn(word, result.stderr)
        return result.stderr

    def file(self, text):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        path = Path(folder.name, "job.ini")
        path.write_text(text, encoding="utf-8")
        return str(path)


class Help(CommandLine):
    def test_overview_lists_every_subcommand_and_none_that_is_missing(self):
        result = tetrarch("--help")

        self.assertEqual((result.returncode, result.stderr), (0, ""))
        rows = [line.split()[0] for line in result.stdout.splitlines() if line.startswith("  ")]
        for name in SUBCOMMANDS:
            self.assertIn(name, rows)
        for name in ["plan", "bench"]:
            self.assertNotIn(name, rows)

    def test_each_subcommand_explains_itself_within_the_page(self):
        for name in SUBCOMMANDS:
            result = tetrarch(name, "--help")

            self.assertEqual((result.returncode, result.stderr), (0, ""), name)
            for words in [f"tetrarch {name}: ", "Options\n", "--config FILE", "Example"]:
                self.assertIn(words, result.stdout)
            self.assertLessEqual(max(map(len, result.stdout.splitlines())), 100, name)

    def test_run_lists_the_options_of_the_contract(self):
        text = tetrarch("run", "--help").stdout

        for name in ("weights inputs out ep tp pp dp backend outputs hidden-layers hidden-pooling "
                     "tokens-per-microbatch capacity-factor verify tokenizer stop-after dry-run "
                     "keep-parts commit-interval timing trace reproducible allow-mixed "
                     "progress-interval watchdog peak-tflops chunk-tokens top-k-logprobs").split():
            self.assertIn(f"--{name}", text)

    def test_help_wins_over_wrong_options(self):
        self.assertEqual(tetrarch("run", "--nonsense", "--help").returncode, 0)


class BuildInfo(CommandLine):
    def test_json_parses_and_names_the_libraries(self):
        result = tetrarch("--build-info", "--json")

        info = json.loads(result.stdout)
        self.assertEqual(result.returncode, 0)
        for key in ["version", "git_sha", "compiler", "build_type", "mpi", "hdf5", "backends"]:
            self.assertTrue(info[key], key)
        self.assertIn(info["cuda"], [False, True, "emulated"])

    def test_version_is_that_of_the_build(self):
        info = json.loads(tetrarch("--build-info", "--json").stdout)

        text = tetrarch("--version").stdout
        self.assertEqual(text, f"tetrarch {info['version']} ({info['git_sha']})\n")

    def test_lines_have_the_same_values(self):
        info = json.loads(tetrarch("--build-info", "--json").stdout)

        text = tetrarch("--build-info").stdout
        self.assertEqual(len(text.splitlines()), len(info))
        self.assertIn(info["mpi"], text)

    def test_a_stray_word_is_refused(self):
        self.refused(["--build-info", "--xml"], "--xml", "unknown option")


class Subcommands(CommandLine):
    def test_none_is_refused(self):
        self.refused([], "no subcommand", "--help")

    def test_a_misspelt_one_names_the_nearest(self):
        self.refused(["rum"], '"rum"', "Did you mean run?", "synth")

    def test_one_of_a_later_version_is_refused_as_such(self):
        for name in ["plan", "bench"]:
            self.refused([name, "--model", "tiny"], name, "not in this version")


class BadOptions(CommandLine):
    def test_missing_ones_are_all_named(self):
        self.refused(["run"], "3 problems", "--weights", "--inputs", "--out")

    def test_a_misspelt_one_names_the_nearest_and_its_value_is_no_second_problem(self):
        text = self.refused(["run", *NEEDED, "--epp", "4"], "--epp", "Did you mean --ep?")

        self.assertNotIn("stray", text)

    def test_an_abbreviation_is_no_option(self):
        self.refused(["run", *NEEDED, "--back", "cpu"], "--back is an unknown option")

    def test_a_stray_word_is_refused(self):
        self.refused(["run", *NEEDED, "word"], '"word" is a stray word')
        self.refused(["run", "--inputs", "a", "b", *NEEDED], '"b" is a stray word')
        self.refused(["run", *NEEDED, "-x"], '"-x" is a stray word', "two dashes")
        self.refused(["run", *NEEDED, "--dry-run", "yes"], '"yes" is a stray word')

    def test_a_doubled_one_is_refused(self):
        self.refused(["run", *NEEDED, "--ep", "2", "--ep", "2"], "--ep", "more than once")

    def test_an_empty_value_is_refused(self):
        self.refused(["run", "--weights", "", *NEEDED[2:]], "--weights has no value")
        self.refused(["run", "--weights=", *NEEDED[2:]], "--weights has no value")
        self.refused(["run", *NEEDED[:4], "--out"], "--out has no value")
        self.refused(["run", *NEEDED[:2], "--inputs", "--out", "o"], "--inputs has no value")

    def test_a_number_out_of_range_is_refused(self):
        for value in ["0", "-1", "4294967297", "9223372036854775808", "2.5", "x", "2x", "0x2", "1e3"]:
            self.refused(["run", *NEEDED, "--ep", value], "--ep", value, "Use 1 to")
        for value in ["-1", "nan", "inf", "1e400", "1,5", "ten"]:
            self.refused(["run", *NEEDED, "--stop-after", value], "--stop-after", value, "Use 0 to")

    def test_a_wrong_choice_names_the_valid_ones(self):
        self.refused(["run", *NEEDED, "--backend", "gpu"], '"gpu"', "auto, cpu, cuda")
        self.refused(["run", *NEEDED, "--timing", "layer"], "Did you mean layers?")

    def test_a_switch_takes_true_or_false_only(self):
        self.refused(["run", *NEEDED, "--dry-run=2"], "--dry-run", "neither true nor false")

    def test_a_value_that_cannot_be_printed_is_refused(self):
        for value, seen in [(b"a\xff", "a\\xff"), (b"a\x1b[2J", "a\\x1b[2J"), (b"a\nb", "a\\x0ab")]:
            self.refused(["run", *NEEDED[:4], "--out", value], f'--out "{seen}"', "UTF-8")

    def test_all_problems_come_at_once(self):
        self.refused(["run", *NEEDED, "--ep", "0", "--tpp", "1", "--verify", "most", "word"],
                     "4 problems", "--ep 0", "--tpp", '"most"', '"word"')

    def test_what_a_later_version_does_is_refused_as_such(self):
        for option, value in [("trace", "d"), ("reproducible", "false")]:
            self.refused(["run", *NEEDED, f"--{option}", value], f"--{option} {value}",
                         "not in this version")

    def test_one_word_is_expected_where_one_belongs(self):
        for name, word in [("inspect", "FILE"), ("verify", "PATH"), ("merge", "RUN_DIR")]:
            self.refused([name], f"{word} is missing")
            self.refused([name, "a", "b"], '"b" is a stray word')

    def test_another_rank_leaves_the_message_to_rank_0(self):
        result = tetrarch("run", rank=1)

        self.assertEqual((result.returncode, result.stderr), (2, ""))
        self.assertIn("--weights is not given", tetrarch("run", rank=0).stderr)


class ConfigFile(CommandLine):
    def test_a_missing_one_is_refused(self):
        self.refused(["run", *NEEDED, "--config", "none.ini"], "--config none.ini", "cannot be read")

    def test_its_problems_name_it(self):
        path = self.file("ep = 0\nepp = 2\ntp = 1\ntp = 2\nverify =\n")

        self.refused(["run", *NEEDED, "--config", path], "4 problems",
                     f"{path}: --ep 0", f"{path}: --epp", "Did you mean --ep?",
                     f"{path}: --tp is given more than once", f"{path}: --verify has no value")

    def test_a_line_that_is_no_setting_is_refused(self):
        self.refused(["run", *NEEDED, "--config", self.file("just words\n")], "just words",
                     "name = value")

    def test_one_without_end_is_refused(self):
        self.refused(["run", *NEEDED, "--config", "/dev/zero"], "--config /dev/zero", "1 MiB")
        self.refused(["run", *NEEDED, "--config", self.file("a" * (1 << 20) + "\n")], "1 MiB")

    def test_a_flood_of_mistakes_is_counted_and_not_told(self):
        message = self.refused(["run", *NEEDED, "--config", self.file("x=1\n" * 100000)],
                               "100000 problems", "and 99970 more")

        self.assertLess(len(message), 9000)

    def test_it_may_not_name_another(self):
        self.refused(["run", *NEEDED, "--config", self.file("config = x\n")], "cannot name another file")

    def test_a_name_that_a_comment_would_cut_is_refused(self):
        path = self.file("out = a#b\nep = 0 # fine\n")

        self.refused(["run", *NEEDED[:4], "--config", path], "out = a#", "2 problems")

    def test_the_example_has_no_wrong_line(self):
        example = str(SOURCE / "inputs/example.ini")

        self.refused(["run", "--config", example, "--ep", "0"], "run: --ep 0 is out of range")

    def test_it_serves_other_subcommands_too(self):
        path = self.file("preset = tinny\nout = o\n")

        self.refused(["synth", "--config", path], '"tinny" is not a preset', "Did you mean tiny?")


class Synth(CommandLine):
    def test_sizes_that_do_not_fit_are_refused(self):
        tiny = ["synth", "--preset", "tiny", "--out", "o"]
        self.refused(["synth", "--out", "o"], "--preset", "--layers", "--vocab")
        self.refused([*tiny, "--heads", "7"], "--hidden 64", "7 heads")
        self.refused([*tiny, "--top-k", "17", "--kv-heads", "3"], "top_k = 17", "num_kv_heads = 3")
        self.refused([*tiny, "--reduction-shards", "3"], "reduction_shards = 3")
        self.refused([*tiny, "--tokens", "5", "--min-tokens", "3"], "--tokens", "--min-tokens")
        self.refused([*tiny, "--min-tokens", "5"], "--max-tokens is not given")
        self.refused([*tiny, "--min-tokens", "5", "--max-tokens", "4"], "exceeds")

    def test_a_model_of_given_sizes_is_made_and_derived_sizes_follow(self):
        with tempfile.TemporaryDirectory() as folder:
            result = tetrarch("synth", "--preset", "tiny", "--layers", "2", "--heads", "4",
                              "--hidden", "48", "--dtype", "f32", "--expert-kind", "mlp",
                              "--sequences", "3", "--min-tokens", "2", "--max-tokens", "9",
                              "--out", folder)

            self.assertEqual(result.returncode, 0, result.stderr)
            import h5py
            with h5py.File(Path(folder, "weights.h5")) as file:
                model = json.loads(file.attrs["config_json"])
            with h5py.File(Path(folder, "inputs.h5")) as file:
                offsets = file["offsets"][:]
        self.assertEqual(model["dtype"], "f32")
        self.assertEqual(model["attention"]["head_dim"], 12)
        self.assertAlmostEqual(model["attention"]["scale"], 12**-0.5)
        self.assertEqual(model["rope"]["dim"], 12)
        self.assertEqual(len(model["moe"]["is_moe"]), 2)
        self.assertEqual(model["moe"]["expert"], {"kind": "mlp", "act": "gelu"})
        self.assertEqual(len(offsets), 4)

    def test_the_same_seed_gives_the_same_data_and_another_another(self):
        import h5py
        read = []
        for seed in ["7", "7", "8"]:
            with tempfile.TemporaryDirectory() as folder:
                tetrarch("synth", "--preset", "tiny", "--layers", "1", "--seed", seed, "--out",
                         folder)
                with h5py.File(Path(folder, "weights.h5")) as weights, \
                        h5py.File(Path(folder, "inputs.h5")) as inputs:
                    read.append((weights["layers/00/gate"][:].tobytes(),
                                 inputs["tokens"][:].tobytes()))

        self.assertEqual(read[0], read[1])
        self.assertNotEqual(read[0][0], read[2][0])
        self.assertNotEqual(read[0][1], read[2][1])

    def test_a_place_that_cannot_be_written_is_a_matter_of_resources(self):
        self.refused(["synth", "--preset", "tiny", "--out", "/proc/none"], "/proc/none", code=5)


class Launched(unittest.TestCase):
    def launch(self, ranks, *arguments):
        environment = {k: v for k, v in os.environ.items() if not k.startswith(LAUNCHERS)}
        return subprocess.run(["bash", SOURCE / "tools/launch.sh", str(ranks), PROGRAM, *arguments],
                              capture_output=True, text=True, timeout=60, check=False,
                              env={**environment, "OMP_NUM_THREADS": "1"})

    def test_a_relative_program_is_launched(self):
        script = [str(SOURCE / "tools/launch.sh")]
        folder, name = Path(PROGRAM).resolve().parent, Path(PROGRAM).name

        for place, program in ((folder, f"./{name}"), (folder, name),
                               (folder.parent, f"{folder.name}/{name}")):
            done = subprocess.run([*script, "2", program, "--version"], cwd=place, text=True,
                                  capture_output=True, timeout=60, check=False)
            self.assertEqual((done.returncode, done.stdout.count("tetrarch ")), (0, 2),
                             f"{program}: {done.stderr}")
        done = subprocess.run([*script, "2", "./none", "--version"], cwd=folder, text=True,
                              capture_output=True, timeout=60, check=False)
        self.assertEqual(done.returncode, 127, done.stderr)
        self.assertIn("launch: ./none cannot be started", done.stderr)

    def test_the_launcher_says_how_it_is_used(self):
        script = [str(SOURCE / "tools/launch.sh")]

        done = subprocess.run([*script, "--help"], text=True, capture_output=True, check=False)
        self.assertEqual(done.returncode, 0)
        self.assertIn("tools/launch.sh 4 build/", done.stdout)
        for wrong in ([], ["4"], [PROGRAM]):
            done = subprocess.run([*script, *wrong], text=True, capture_output=True, check=False)
            self.assertEqual(done.returncode, 2)
            self.assertIn("Use tools/launch.sh RANKS PROGRAM", done.stderr)

    def test_all_ranks_refuse_wrong_options_with_one_message(self):
        result = self.launch(3, "run", *NEEDED, "--ep", "0")

        self.assertEqual(result.returncode, 2)
        self.assertEqual(result.stderr.count("tetrarch: run: --ep 0"), 1, result.stderr)

    def test_what_rank_0_finds_after_the_start_is_said_once_and_decides_the_code(self):
        with tempfile.TemporaryDirectory() as folder:
            missing = str(Path(folder, "none.h5"))
            result = self.launch(3, "run", "--weights", missing, "--inputs", missing, "--out",
                                 str(Path(folder, "run")))

        self.assertEqual(result.returncode, 4, result.stderr)
        self.assertEqual(result.stderr.count("tetrarch: "), 1, result.stderr)
        self.assertIn(missing, result.stderr)

    def test_the_log_says_where_each_value_comes_from(self):
        with tempfile.TemporaryDirectory() as folder:
            tetrarch("synth", "--preset", "tiny", "--layers", "1", "--out", folder)
            job = Path(folder, "job.ini")
            job.write_text(f"inputs = {folder}/inputs.h5\nep = 2\ntp = 1\ndry-run = true\n",
                           encoding="utf-8")
            result = self.launch(1, "run", "--config", str(job), "--ep", "1", "--weights",
                                 f"{folder}/weights.h5", "--out", f"{folder}/run")

        self.assertEqual(result.returncode, 0, result.stderr)
        origins = {}
        for line in result.stdout.splitlines():
            if line.startswith("option "):
                _, name, rest = line.split(maxsplit=2)
                origins[name] = rest.split(maxsplit=1)
        self.assertEqual(origins["ep"], ["1", "command line"])
        self.assertEqual(origins["tp"], ["1", str(job)])
        self.assertEqual(origins["verify"], ["fast", "default"])
        self.assertEqual(" ".join(origins["dp"]), "not given")


class TextToInputs(unittest.TestCase):
    def test_paragraphs_become_sequences_of_bytes(self):
        import h5py
        with tempfile.TemporaryDirectory() as folder:
            text = Path(folder, "text.txt")
            text.write_bytes(b"\nab\r\nc\n\n\nde")
            for per, ids, expected in [("paragraph", "number", [(2, b"ab\nc"), (6, b"de")]),
                                       ("line", "text", [(b"text.txt:2", b"ab"),
                                                         (b"text.txt:3", b"c"),
                                                         (b"text.txt:6", b"de")])]:
                subprocess.run([sys.executable, SOURCE / "tools/text_to_inputs.py", text,
                                Path(folder, "inputs.h5"), "--per", per, "--ids", ids], check=True,
                               capture_output=True)
                with h5py.File(Path(folder, "inputs.h5")) as file:
                    offsets, tokens = file["offsets"][:], file["tokens"][:]
                    found = [(name, bytes(tokens[begin:end].astype("u1"))) for name, begin, end
                             in zip(file["ids"][:], offsets[:-1], offsets[1:])]
                self.assertEqual(found, expected)


if __name__ == "__main__":
    unittest.main()
