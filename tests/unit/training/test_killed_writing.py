"""Kill -9 at any moment of writing a checkpoint leaves the one before or the new one, whole."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

# A process that only writes is killed many times by the one that checks: torch is imported once.
WRITE_AND_KILL = """
import json, os, signal, sys, time
from pathlib import Path
import torch
from lca_lightning.training.checkpoint_writing import AtomicCheckpointIO

torch.set_num_threads(1)
path, shard_mib = Path(sys.argv[1]), float(sys.argv[2]) or None
io = AtomicCheckpointIO(shard_mib)

def save(number):
    io.save_checkpoint({"number": number, "weights": torch.full((1_000_000,), number)}, path)

save(0)
seen, cut, end = set(), 0, time.monotonic() + 60
attempt = 0
while attempt < 10 or (time.monotonic() < end and (len(seen) < 2 or not cut)):  # a busy machine needs more
    attempt += 1
    child = os.fork()
    if not child:
        number = 1
        while True:
            save(number)
            number += 1
    time.sleep(0.005 * attempt)  # ever longer, so that writes end too
    while not list(path.parent.rglob(f".*partial-{child}*")):
        pass
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    checkpoint = io.load_checkpoint(path)
    assert (checkpoint["weights"] == checkpoint["number"]).all(), attempt
    seen.add(checkpoint["number"])
    pieces = len(json.loads(path.read_text())["shards"]) if shard_mib else 0
    left = len(list(path.parent.glob("*.shards/*"))) > pieces  # of a state that never got its name
    cut += left or bool(list(path.parent.rglob(f".*partial-{child}*")))
print(len(seen), cut)
"""


@pytest.mark.parametrize("shard_mib", [0.0, 0.25], ids=["whole", "shards"])
def test_a_killed_writer_leaves_a_whole_checkpoint(tmp_path: Path, shard_mib: float) -> None:
    words = [sys.executable, "-c", WRITE_AND_KILL, str(tmp_path / "last.ckpt"), str(shard_mib)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    seen, cut = map(int, done.stdout.split())
    assert seen > 1 and cut > 0  # it wrote, and was killed in the middle
