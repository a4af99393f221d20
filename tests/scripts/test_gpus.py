"""The scripts build for the GPUs that the machine has, and go on where it has none."""
import os
import pathlib
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]


class CudaArchitecturesTest(unittest.TestCase):

    def architectures(self, nvidia_smi):
        """What cuda_architectures prints, in a script that ends at the first error, beside this nvidia-smi."""
        with tempfile.TemporaryDirectory() as folder:
            program = pathlib.Path(folder) / "nvidia-smi"
            program.write_text(f"#!/bin/sh\n{nvidia_smi}\n")
            program.chmod(0o755)
            commands = (f"set -euo pipefail; source '{ROOT}/scripts/common.sh'; "
                        'found="$(cuda_architectures)"; echo "found $found."')
            return subprocess.run(["bash", "-c", commands], capture_output=True, text=True, check=False,
                                  env={**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}).stdout

    def test_each_kind_of_gpu_counts_once(self):
        self.assertEqual(self.architectures("printf '9.0\\n8.0\\n9.0\\n'"), "found 80;90.\n")

    def test_a_machine_without_a_gpu_is_no_error(self):
        self.assertEqual(self.architectures("exit 9"), "found .\n")
        self.assertEqual(self.architectures("exit 127"), "found .\n")


if __name__ == "__main__":
    unittest.main()
