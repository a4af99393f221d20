#!/usr/bin/env python3
"""Reads the JUnit file of `kvtune check` with junitparser: one gate of each kind.

Exits with 77, which ctest calls skipped, where junitparser is not installed.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

try:
    import junitparser
except ImportError:
    print("junitparser is not installed (scripts/requirements/oracles.txt): nothing is compared")
    sys.exit(77)

ROOT = pathlib.Path(__file__).resolve().parents[2]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kvtune", required=True)
    arguments = parser.parse_args()
    shipped = ROOT / "configs" / "kvtuner.json"
    config = json.loads(shipped.read_text())
    config["model"] = str((shipped.parent / config["model"]).resolve())
    with tempfile.TemporaryDirectory() as folder:
        # A name that XML has to escape, and a plan with one fragile layer at two bits.
        worse, missing, report = (pathlib.Path(folder) / name for name in ("worse.json", "gone.json", "junit.xml"))
        worse.write_text(json.dumps({**config, "name": 'a "worse" <plan> & more', "plan": config["plan"] + ";0:KV2"}))
        baseline = json.loads((ROOT / "configs" / "baselines" / "kvtuner.json").read_text())
        entry = dict(baseline["baselines"][0], name='a "worse" <plan> & more')
        baseline["baselines"].append(entry)
        (pathlib.Path(folder) / "baseline.json").write_text(json.dumps(baseline))
        done = subprocess.run(
            [arguments.kvtune, "check", "--config", shipped, worse, missing, "--baseline",
             pathlib.Path(folder) / "baseline.json", "--junit", report, "-q", "--device", "cpu"],
            stdout=subprocess.DEVNULL, check=False)
        assert done.returncode == 4, done.returncode
        suites = list(junitparser.JUnitXml.fromfile(str(report)))
    assert len(suites) == 1, suites
    suite = suites[0]
    assert (suite.tests, suite.failures, suite.errors, suite.skipped) == (3, 1, 1, 0), suite
    passed, failed, error = list(suite)
    assert passed.is_passed and passed.name == config["name"] and passed.time > 0
    assert failed.name == 'a "worse" <plan> & more'
    result, = failed.result
    assert isinstance(result, junitparser.Failure) and "layer 0 explains it best" in result.message, result.message
    assert "kl_mean" in failed.system_out
    result, = error.result
    assert isinstance(result, junitparser.Error) and "gone.json" in result.message
    print("junitparser reads a gate that passed, one that failed and one that was not judged")
    return 0


if __name__ == "__main__":
    sys.exit(main())
