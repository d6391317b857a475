"""Protocols over two real processes give what one process gives, to the last digit."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.multiprocessing as multiprocessing

from lca_lightning.metrics.protocol import PROTOCOLS, Protocol, build_protocol
from tests.unit.metrics.scored import make_scored

# Five frames over two processes: the sampler repeats frame 0 to even them out.
SHARES = {"padded": ([0, 2, 4], [1, 3, 0]), "one has none": ([0, 1, 2, 3, 4], [])}


def fill(metric: Protocol, rows: list[int]) -> Protocol:
    """Some frames know a face, hands or an angle, some do not."""
    for row in rows:
        mask = make_scored(row).masks_BT1HW > 0.5
        regions = {"face": mask} if row in (0, 3) else None
        angle = torch.tensor([[30.0 * row]]) if row < 4 else None
        metric.update(make_scored(row, regions=regions, angles_BT=angle))
    return metric


def _worker(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    place = f"file://{folder}/rendezvous"
    torch.distributed.init_process_group("gloo", init_method=place, rank=rank, world_size=2)
    found = {}
    for case, shares in SHARES.items():
        for name in PROTOCOLS:
            metric = fill(build_protocol(name, lpips=False), shares[rank])
            scores = {key: float(value) for key, value in metric.compute().items()}
            frames = [frame for _, frame, _ in metric.rows()]
            found[f"{case}, {name}"] = {"scores": scores, "frames": frames}
    torch.save(found, Path(folder) / f"found{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_processes_equal_one(tmp_path: Path) -> None:
    multiprocessing.spawn(_worker, args=(str(tmp_path),), nprocs=2)
    alone = {name: fill(build_protocol(name, lpips=False), [4, 3, 2, 1, 0]) for name in PROTOCOLS}
    for rank in range(2):
        found = torch.load(tmp_path / f"found{rank}.pt", weights_only=True)
        for case, shares in SHARES.items():
            for name in PROTOCOLS:
                got = found[f"{case}, {name}"]
                expected = {key: float(value) for key, value in alone[name].compute().items()}
                assert got["scores"] == expected, (case, name, rank)
                assert got["frames"] == [f"clip/front/{row}" for row in shares[rank]]
                assert expected["frames"] == 5 and expected["subjects"] == 2
            assert "psnr_face" in found[f"{case}, masked"]["scores"]
