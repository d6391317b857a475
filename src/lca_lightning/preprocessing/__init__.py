"""From real video and photos to fitted rigs and data sets: detection, calibration, fitting, quality,
writing.
"""

from __future__ import annotations
