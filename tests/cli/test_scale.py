"""Many processes: the same results whatever their number, and what happens when one of them dies."""
import itertools
import json
import os
import pathlib
import signal
import socket
import subprocess
import time
import unittest

import tiny_model
from cli_test_case import BINARY, CliTestCase

FILES = ("sensitivity.json", "evaluations.jsonl", "front.json")
SEARCH = ["--population", "8", "--generations", "6", "--no-cluster"]
LAUNCHERS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "SLURM_PROCID",
             "SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "PMI_RANK", "PMI_SIZE")


def free_port():
    with socket.socket() as server:
        server.bind(("", 0))
        return server.getsockname()[1]


class ScaleTestCase(CliTestCase):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        for name in LAUNCHERS:
            os.environ.pop(name, None)
        run = cls("run_kvtune")
        run.run_kvtune("search", *run.model_arguments(), "--out", "one", *SEARCH)
        cls.expected = {name: cls.folder.joinpath("one", name).read_bytes() for name in FILES}

    def start(self, rank, world, port, out, *, variables=None, model=None, folder=None, options=()):
        """One process of a search."""
        ranks = variables or {"RANK": str(rank), "WORLD_SIZE": str(world), "LOCAL_RANK": str(rank)}
        process = subprocess.Popen(
            [BINARY, "search", *map(str, self.model_arguments(model)), "--out", str(out), *SEARCH, *options],
            cwd=folder or self.folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, **ranks, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)})
        self.addCleanup(self.end, process)
        return process

    def start_answering(self, port):
        """Rank 0 of two processes, which lives until its input ends."""
        with open(self.folder / "answering.txt", "w", encoding="utf-8") as messages:
            first = subprocess.Popen(
                [BINARY, "evaluate", *map(str, self.model_arguments()), "--stdin", "-v"], text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=messages,
                env={**os.environ, "RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1",
                     "MASTER_PORT": str(port)})
        self.addCleanup(self.end, first)
        return first

    @staticmethod
    def end(process):
        if process.poll() is None:
            process.kill()
        process.communicate()

    def finish(self, process, exit_code=0, seconds=120):
        """What a process printed; it has to end by itself in this time."""
        stdout, stderr = process.communicate(timeout=seconds)
        self.assertEqual(process.returncode, exit_code, stderr)
        return stdout, stderr

    def error_of(self, process, **keywords):
        stdout, stderr = self.finish(process, exit_code=1, **keywords)
        self.assertEqual(stdout, "")
        errors = [line for line in stderr.splitlines() if "kvtune: error: " in line]
        self.assertEqual(len(errors), 1, stderr)
        self.assertNotIn("[W", stderr)  # libtorch's own
        return errors[0].removeprefix("kvtune: error: ")

    def wait_for_scores(self, out, first):
        """Waits until rank 0 has logged some, so that it is in the middle of its work."""
        log = self.folder / out / "evaluations.jsonl"
        while not log.exists() or log.stat().st_size == 0:
            self.assertIsNone(first.poll())
            time.sleep(0.01)

    def wait_for_worker(self, first):
        """Waits until rank 0, which answers plan after plan, has seen that rank 1 has come."""
        plans = itertools.product(("KV8", "KV4", "KV2", "K8V4", "K4V2"), repeat=3)
        while "rank 1 of 2 has come" not in self.folder.joinpath("answering.txt").read_text():
            # It looks around before it scores a plan that it does not know.
            first.stdin.write(json.dumps({"spec": "KV8;0:{};1:{};2:{}".format(*next(plans))}) + "\n")
            first.stdin.flush()
            first.stdout.readline()
            time.sleep(1)

    def assert_expected(self, out):
        for name, content in self.expected.items():
            self.assertEqual(self.folder.joinpath(out, name).read_bytes(), content, name)


class ResultsTest(ScaleTestCase):

    def test_the_number_of_processes_changes_no_byte(self):
        for world in (2, 4):
            port, out = free_port(), f"of_{world}"
            elsewhere = self.folder / f"elsewhere_{world}"
            elsewhere.mkdir()
            others = [self.start(rank, world, port, out, folder=elsewhere) for rank in range(1, world)]
            first = self.start(0, world, port, out)
            stdout, stderr = self.finish(first)
            self.assertIn("eff. bits", stdout)
            self.assertNotIn("[W", stderr)
            for other in others:
                self.assertEqual(self.finish(other), ("", ""))
            self.assert_expected(out)
            self.assert_no_leftovers(out)
            self.assertEqual(list(elsewhere.iterdir()), [])

    def test_variables_of_mpi_and_slurm_work_too(self):
        for name, variables in (("OMPI", ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE")),
                                ("Slurm", ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"))):
            port = free_port()
            processes = [self.start(0, 0, port, name, variables={variables[0]: str(rank), variables[1]: "2"})
                         for rank in (1, 0)]
            for process in processes:
                self.finish(process)
            self.assert_expected(name)

    def test_one_process_of_a_launcher_needs_no_store(self):
        with socket.socket() as server:
            server.bind(("", 0))
            server.listen()
            self.finish(self.start(0, 1, server.getsockname()[1], "launched_alone"))
        self.assert_expected("launched_alone")

    def test_processes_that_never_come_are_missed(self):
        _, stderr = self.finish(self.start(0, 2, free_port(), "lonely"))
        self.assertIn("found 1 of 2 processes, expected all that the environment promises", stderr)
        self.assert_expected("lonely")

    def test_calibrate_and_evaluate_share_their_work(self):
        for command in (["calibrate", "--out", "calibrated"], ["evaluate", "--uniform", "all"]):
            port = free_port()
            arguments = [BINARY, *command, *map(str, self.model_arguments()), "--json"]
            processes = [subprocess.Popen(arguments, cwd=self.folder, text=True, stdout=subprocess.PIPE,
                                          stderr=subprocess.PIPE,
                                          env={**os.environ, "RANK": str(rank), "WORLD_SIZE": "2",
                                               "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)})
                         for rank in (0, 1)]
            answers = [self.finish(process)[0] for process in processes]
            self.assertEqual(answers[1], "")
            if command[0] == "evaluate":
                self.assertEqual(answers[0], self.run_kvtune(*command, *self.model_arguments(), "--json").stdout)
        self.assertEqual(self.folder.joinpath("calibrated", "sensitivity.json").read_bytes(),
                         self.expected["sensitivity.json"])


class AnswersTest(ScaleTestCase):
    """Answers to a task, which processes generate together."""

    FRONT = ("front.json", "answers.jsonl")

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        task = {"schema_version": 1, "name": "noise", "protocol": "custom", "stop": list("aeiou3579"), "max_new_tokens": 24,
                "items": [{"prompt": f"the value of item {i}: {i * i}", "answer": "?"} for i in range(12)]}
        (cls.folder / "task.json").write_text(json.dumps(task))

    def start_command(self, rank, world, port, *arguments):
        # Other processes have no file but the model's.
        folder = self.folder if rank == 0 else self.folder / "tiny"
        process = subprocess.Popen(
            [BINARY, *map(str, arguments)], cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, "RANK": str(rank), "WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1",
                 "MASTER_PORT": str(port)})
        self.addCleanup(self.end, process)
        return process

    def run_together(self, world, *arguments):
        """What rank 0 prints; the others print nothing."""
        port = free_port()
        others = [self.start_command(rank, world, port, *arguments) for rank in range(1, world)]
        stdout, _ = self.finish(self.start_command(0, world, port, *arguments))
        for other in others:
            self.assertEqual(self.finish(other), ("", ""))
        return stdout

    def test_evaluate_writes_the_same_answers(self):
        def arguments(samples):
            return ["evaluate", "--model", self.model, "--threads", "1", "--task", "task.json", "--uniform", "all",
                    "--plan", "exact", "--samples", samples, "--json"]
        alone = self.run_kvtune(*arguments("alone.jsonl")).stdout
        lines = (self.folder / "alone.jsonl").read_text().splitlines()
        self.assertGreater(len({json.loads(line)["tokens"] for line in lines}), 2)  # stops end some
        for world in (2, 4):
            self.assertEqual(self.run_together(world, *arguments(f"of_{world}.jsonl")), alone)
            self.assertEqual(self.folder.joinpath(f"of_{world}.jsonl").read_text().splitlines(), lines)

    def test_searches_write_the_same_answers(self):
        for name, options in (("after", ["--task", "task.json"]),
                              ("accuracy", ["--task", "task.json", "--objective", "accuracy"]),
                              ("exact", ["--task", "task.json", "--prefill", "exact"])):
            arguments = ["search", *self.model_arguments(), *SEARCH, *options]
            self.run_kvtune(*arguments, "--out", f"{name}_1")
            for world in (2, 4):
                self.run_together(world, *arguments, "--out", f"{name}_{world}")
                for file in self.FRONT:
                    self.assertEqual(self.folder.joinpath(f"{name}_{world}", file).read_bytes(),
                                     self.folder.joinpath(f"{name}_1", file).read_bytes(), (name, world, file))

    def test_answers_of_a_killed_run_are_kept(self):
        arguments = ["search", *self.model_arguments(), *SEARCH, "--task", "task.json", "--objective", "accuracy"]
        self.run_kvtune(*arguments, "--out", "undisturbed")
        port = free_port()
        worker = self.start_command(1, 2, port, *arguments, "--out", "killed")
        first = self.start_command(0, 2, port, *arguments, "--out", "killed")
        log = self.folder / "killed" / "answers.jsonl"
        while not log.exists() or log.stat().st_size < 20000:
            self.assertIsNone(first.poll())
            time.sleep(0.01)
        first.kill()
        worker.kill()
        self.run_together(2, *arguments, "--out", "killed")
        for file in self.FRONT:
            self.assertEqual(self.folder.joinpath("killed", file).read_bytes(),
                             self.folder.joinpath("undisturbed", file).read_bytes(), file)


class SplitLayersTest(ScaleTestCase):

    def test_layers_that_are_split_change_no_byte(self):
        for out, options in (("split", ["--split-layers", "2"]), ("split_and_shared", ["--split-layers", "3",
                                                                                       "--devices", "2"])):
            done = self.run_kvtune("search", *self.model_arguments(), "--out", out, *SEARCH, *options)
            self.assertIn("the layers are split over cpu, cpu", done.stderr)
            self.assert_expected(out)

    def test_streamed_layers_are_not_split(self):
        error = self.run_error("search", *self.model_arguments(), "--out", "neither", *SEARCH, "--split-layers", "2",
                               "--weights", "stream", exit_code=2)
        self.assertIn("found --split-layers and --weights stream, expected one of them", error)


class DevicesTest(ScaleTestCase):
    """--devices, which starts the other processes by itself."""

    def start_devices(self, out, *options, devices="3"):
        process = subprocess.Popen(
            [BINARY, "search", *map(str, self.model_arguments()), "--out", out, *SEARCH, "--device", "cpu", "--devices",
             devices, *options], cwd=self.folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            start_new_session=True)
        self.addCleanup(self.end, process)
        return process

    @staticmethod
    def children_of(process):
        return [int(pid) for pid in
                pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]

    def wait_until_gone(self, pids, seconds=20):
        end = time.monotonic() + seconds
        while any(pathlib.Path(f"/proc/{pid}").exists() and "State:\tZ" not in
                  pathlib.Path(f"/proc/{pid}/status").read_text() for pid in pids):
            self.assertLess(time.monotonic(), end, "processes go on without their parent")
            time.sleep(0.1)

    def test_processes_are_started_share_the_work_and_end(self):
        process = self.start_devices("devices", "-v")
        self.wait_for_scores("devices", process)
        children = self.children_of(process)
        self.assertEqual(len(children), 2)
        stdout, stderr = self.finish(process)
        self.assertIn("eff. bits", stdout)
        for rank in (1, 2):
            self.assertIn(f"rank {rank} of 3 has come", stderr)
        self.assertNotIn("ended with", stderr)
        self.assert_expected("devices")
        self.wait_until_gone(children, seconds=0)

    def test_evaluate_and_calibrate_start_them_too(self):
        alone = self.run_kvtune("evaluate", *self.model_arguments(), "--uniform", "all", "--json").stdout
        shared = self.run_kvtune("evaluate", *self.model_arguments(), "--uniform", "all", "--json", "--devices", "2")
        self.assertEqual((shared.stdout, shared.stderr.count("kvtune: error")), (alone, 0))
        self.run_kvtune("calibrate", *self.model_arguments(), "--out", "calibrated_by_two", "--devices", "2")
        self.assertEqual(self.folder.joinpath("calibrated_by_two", "sensitivity.json").read_bytes(),
                         self.expected["sensitivity.json"])

    def test_they_end_when_their_parent_is_killed(self):
        process = self.start_devices("parent_killed")
        self.wait_for_scores("parent_killed", process)
        children = self.children_of(process)
        self.assertEqual(len(children), 2)
        process.kill()
        process.wait()
        self.wait_until_gone(children)
        self.finish(self.start_devices("parent_killed", devices="2"))
        self.assert_expected("parent_killed")

    def test_one_that_is_killed_is_named_and_costs_its_lease(self):
        process = self.start_devices("child_killed")
        self.wait_for_scores("child_killed", process)
        os.kill(self.children_of(process)[0], signal.SIGKILL)
        _, stderr = self.finish(process)
        self.assertIn("was ended by signal 9; the others do its work", stderr)
        self.assert_expected("child_killed")

    def test_an_interrupt_of_the_terminal_stops_all_and_loses_nothing(self):
        process = self.start_devices("interrupted")
        self.wait_for_scores("interrupted", process)
        os.killpg(process.pid, signal.SIGINT)
        _, stderr = self.finish(process, exit_code=130)
        self.assertEqual(stderr.count("stopping after this batch"), 1, stderr)
        self.finish(self.start_devices("interrupted"))
        self.assert_expected("interrupted")

    def test_mistakes_are_one_line(self):
        for options, exit_code, message in (
                (["--devices", "two"], 2, "found --devices two, expected a number, all, or the numbers of some GPUs"),
                (["--devices", "all"], 2, "expected a number of processes, since there are no GPUs"),
                (["--devices", "2", "--prompts", "missing.jsonl"], 1, "missing.jsonl"),
                (["--devices", "2", "--out", "devices_and_seed", "--seed", "3"], 1, "resuming devices_and_seed")):
            if "devices_and_seed" in options:
                self.run_kvtune("search", *self.model_arguments(), "--out", "devices_and_seed", *SEARCH)
            done = self.run_kvtune("search", "--model", self.model, "--threads", "1", *SEARCH, *options,
                                   *(() if "--prompts" in options else ("--prompts", self.prompts)),
                                   exit_code=exit_code)
            errors = [line for line in done.stderr.splitlines() if "error: " in line]
            self.assertEqual(len(errors), 1, done.stderr)
            self.assertIn(message, errors[0])
        ranks = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
        error = self.run_error("search", *self.model_arguments(), *SEARCH, "--devices", "2", exit_code=2,
                               environment=ranks)
        self.assertIn("found --devices in a process that a launcher started as one of many", error)


class DeathsTest(ScaleTestCase):

    def test_a_worker_that_is_killed_costs_only_its_lease(self):
        port = free_port()
        worker = self.start(1, 3, port, "killed")
        other = self.start(2, 3, port, "killed")
        first = self.start(0, 3, port, "killed")
        self.wait_for_scores("killed", first)
        worker.kill()
        self.finish(first)
        self.finish(other)
        self.assert_expected("killed")

    def test_rank_zero_that_is_killed_ends_the_others(self):
        port = free_port()
        worker = self.start(1, 2, port, "none")
        first = self.start_answering(port)
        self.wait_for_worker(first)
        time.sleep(3)  # the other has its model
        first.kill()
        self.assertIn("asking the store at", self.error_of(worker, seconds=60))

    def test_a_search_whose_rank_zero_was_killed_goes_on(self):
        port = free_port()
        worker = self.start(1, 2, port, "resumed")
        first = self.start(0, 2, port, "resumed")
        self.wait_for_scores("resumed", first)
        first.kill()
        worker.kill()
        port = free_port()
        processes = [self.start(rank, 2, port, "resumed") for rank in (1, 0)]
        for process in processes:
            self.finish(process)
        self.assert_expected("resumed")

    def test_an_error_of_rank_zero_ends_the_others(self):
        port = free_port()
        worker = self.start(1, 2, port, "one")
        first = self.start(0, 2, port, "one", options=["--seed", "3"])  # another run's folder
        self.assertIn("resuming one", self.error_of(first))
        self.assertIn("found that it ended with an error", self.error_of(worker, seconds=60))


class MistakesTest(ScaleTestCase):

    def test_a_port_that_is_taken(self):
        with socket.socket() as server:
            server.bind(("", 0))
            server.listen()
            error = self.error_of(self.start(0, 2, server.getsockname()[1], "taken"))
        self.assertIn("found that another program has the port, expected a free one (set MASTER_PORT)", error)
        self.assertFalse(self.folder.joinpath("taken").exists())

    def test_a_wrong_number_of_processes(self):
        error = self.error_of(self.start(2, 2, free_port(), "wrong"))
        self.assertIn("found RANK=2 and WORLD_SIZE=2, expected a rank below the number of processes", error)
        port = free_port()
        other = self.start(1, 3, port, "wrong")
        first = self.start(0, 2, port, "wrong")
        self.assertIn("found the number of processes 3, expected 2 as rank 0 has", self.error_of(other))
        self.finish(first)
        self.assert_expected("wrong")

    def test_every_process_judges_its_arguments_before_it_waits_for_rank_zero(self):
        ranks = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "MASTER_ADDR": "127.0.0.1",
                 "MASTER_PORT": str(free_port())}
        error = self.run_error("evaluate", *self.model_arguments(), exit_code=2, environment=ranks)
        self.assertIn("kvtune evaluate: found neither, expected plans", error)

    def test_another_model(self):
        other_model = tiny_model.write_model(self.folder / "other", tensors=tiny_model.weights(seed=8))
        port = free_port()
        other = self.start(1, 2, port, "models", model=other_model)
        first = self.start(0, 2, port, "models")
        error = self.error_of(other)
        self.assertIn("joining the run: found the model xxh3:", error)
        self.finish(first)
        self.assert_expected("models")

    def test_two_runs_on_one_store(self):
        port = free_port()
        first = self.start_answering(port)
        worker = self.start(1, 2, port, "first_run")
        self.wait_for_worker(first)
        second = [self.start(rank, 2, port, "second_run") for rank in (0, 1)]
        self.assertIn("found that another program has the port", self.error_of(second[0]))
        self.assertIn("found another process of rank 1 at work, expected one for each rank",
                      self.error_of(second[1]))
        self.assertIsNone(worker.poll())
        self.finish(first)
        self.finish(worker)


if __name__ == "__main__":
    unittest.main()
