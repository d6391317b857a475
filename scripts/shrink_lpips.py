"""Write a network of the perceptual loss in half precision, for machines that weights must be carried to.

python scripts/shrink_lpips.py --net vgg --out weights     # 29 MB instead of 59; then LCA_WEIGHTS=weights
"""

from __future__ import annotations

import argparse

from lca_lightning.losses.half_weights import write_half


def main() -> None:
    """Write one file and say how large it is."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--net", choices=("vgg", "alex", "squeeze"), default="vgg")
    parser.add_argument("--out", default="weights", help="folder (default: weights)")
    arguments = parser.parse_args()
    path = write_half(arguments.net, arguments.out)
    print(
        f"Wrote {path} ({path.stat().st_size / 1e6:.1f} MB). It is found when LCA_WEIGHTS names its folder."
    )


if __name__ == "__main__":
    main()
