"""The number of cases of the campaigns, and the report on them."""

from __future__ import annotations

import os

import hypothesis.configuration
import numpy as np
import pytest

from musicvideo.vision.generators.cppn.network import CPPN

from .sandbox import TALLIES, Sandbox

# Generated cases of each kind of attack; those that are written down run as well. `make test-trust` sets it.
CASES = int(os.environ.get("TRUST_CASES", "2"))
CAMPAIGN = "TRUST_CASES" in os.environ


@pytest.fixture(scope="session", autouse=True)
def hypothesis_writes_elsewhere(tmp_path_factory):
    hypothesis.configuration.set_hypothesis_home_dir(tmp_path_factory.mktemp("hypothesis"))


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory) -> Sandbox:
    CPPN(16).frames(np.zeros((1, CPPN.noise_dim)), np.eye(len(CPPN.labels))[:1])  # compiled outside of the sandbox
    return Sandbox(tmp_path_factory.mktemp("sandbox"))


def pytest_terminal_summary(terminalreporter):
    if TALLIES:
        terminalreporter.section("trust")
        for kind, tally in TALLIES.items():
            terminalreporter.write_line(f"{kind}: {tally.line()}")
        terminalreporter.write_line(f"all: {sum(sum(tally.ends.values()) for tally in TALLIES.values())} cases")
