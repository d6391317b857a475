"""Reports and contact sheets: what they say, and that they need nothing else."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFont

from lca_lightning.errors import DataError, UsageError
from lca_lightning.inspection.contact_sheet import SheetOptions, _wrapped, write_contact_sheet
from lca_lightning.inspection.dataset_check import check_dataset
from lca_lightning.inspection.drawing import MASK_COLOR, RIG_COLOR, draw_outlines
from lca_lightning.inspection.html_report import write_html_report
from lca_lightning.inspection.results import CheckOptions
from lca_lightning.inspection.table import table_lines
from lca_lightning.rig.anny import AnnyRig
from tests.unit.inspection.captures import write_moving_capture


@pytest.fixture(scope="module")
def light_stage(rig: AnnyRig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("stage") / "stage"
    return write_moving_capture(
        root, rig, {"ann": "train"}, cameras=2, frames=8, kind="light_stage", lit=True
    )


def test_the_html_report_stands_alone_and_shows_every_camera(capture: Path, tmp_path: Path) -> None:
    (capture / "sequences" / "ann_take" / "masks" / "cam1.mkv").write_bytes(b"<script>")
    options = CheckOptions(sample=2, thumbnails=2, synchronisation=False)
    result = check_dataset(capture, options)
    text = write_html_report(result, options, tmp_path / "report.html").read_text()
    assert not re.search(r"(src|href)='(?!data:)", text) and "<script" not in text
    pictures = re.findall(r"data:image/jpeg;base64,([^']+)'", text)
    assert len(pictures) == 2 * 6
    image = Image.open(io.BytesIO(base64.b64decode(pictures[0])))
    assert 30 < image.size[0] <= 120 and 60 < image.size[1] <= 160  # cut closely
    assert "the mask masks/cam1.mkv does not open" in text and "IoU 1.00" in text
    assert list(tmp_path.glob("*.html")) == [tmp_path / "report.html"]


def test_json_and_table_agree_with_the_findings(capture: Path) -> None:
    shutil.rmtree(capture / "sequences" / "bob_take" / "masks")
    result = check_dataset(capture, CheckOptions(sample=2, synchronisation=False))
    values = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert values["counts"] == {"error": 3, "warning": 0, "note": 0}
    assert values["sequences"]["ann_take"]["cameras"]["cam0"]["silhouette_iou_median"] > 0.95
    text = "\n".join(table_lines(result))
    assert text.count("error: bob_take/") == 3 and "2 sequences: 3 errors" in text


def test_a_light_stage_passes_and_its_pictures_are_seen_as_srgb(light_stage: Path) -> None:
    result = check_dataset(light_stage, CheckOptions(sample=2, full=True))
    assert result.findings == []
    assert len(result.sequences[0].signatures) == 4
    shutil.copytree(light_stage, broken := light_stage.with_name("broken"))
    layer = broken / "sequences" / "ann_take" / "layers" / "albedo" / "cam1.mkv"
    layer.write_bytes(layer.read_bytes()[:2000])
    [finding] = check_dataset(broken, CheckOptions(sample=2)).findings
    assert finding.camera == "cam1" and "albedo layer" in finding.what


def test_a_contact_sheet_has_a_row_for_each_sequence_broken_ones_too(capture: Path, tmp_path: Path) -> None:
    whole = Image.open(write_contact_sheet(capture, tmp_path / "a.png", SheetOptions(2, 4, True, 160)))
    assert whole.size[1] > 2 * 160
    pixels = np.asarray(whole).reshape(-1, 3)
    assert (pixels == RIG_COLOR).all(1).sum() > 200
    (capture / "sequences" / "ann_take" / "sequence.json").write_text("{")
    broken = Image.open(write_contact_sheet(capture, tmp_path / "a.jpg", SheetOptions(2, 4, False, 160)))
    assert broken.size[1] < whole.size[1] - 100


def test_a_contact_sheet_of_a_light_stage_tells_how_it_is_lit(light_stage: Path) -> None:
    from lca_lightning.datasets.sequence import Sequence
    from lca_lightning.inspection.contact_sheet import _row

    row = _row(Sequence(light_stage / "sequences" / "ann_take"), "anny", SheetOptions(frames=4))
    assert [label.split(", ", 2)[2] for label, _ in row.pictures] == ["fully lit", "1 of 4 lights"] * 2
    assert "linear, layers albedo" in row.title


def test_impossible_requests_are_refused(clean_capture: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least one sequence"):
        SheetOptions(sequences=0)
    with pytest.raises(UsageError, match="ends in .jpg"):
        write_contact_sheet(clean_capture, tmp_path / "sheet.pdf")
    with pytest.raises(UsageError, match="sample"):
        CheckOptions(sample=0)
    with pytest.raises(DataError, match="no data set folder"):
        check_dataset(tmp_path / "nowhere")
    with pytest.raises(DataError, match="is not a data set"):
        check_dataset(tmp_path)


def test_a_data_set_without_sequences_has_nothing_to_show(clean_capture: Path, tmp_path: Path) -> None:
    shutil.copy(clean_capture / "dataset.json", tmp_path)
    with pytest.raises(DataError, match="holds no sequence"):
        write_contact_sheet(tmp_path, tmp_path / "sheet.png")
    assert not (tmp_path / "sheet.png").exists()


def test_a_data_set_of_broken_sequences_says_why_and_long_reasons_are_wrapped(
    capture: Path, tmp_path: Path
) -> None:
    font = ImageFont.load_default(size=14)
    reason = "word " * 60 + "x" * 400
    lines = _wrapped(reason, font, 300)
    assert "".join("".join(lines).split()) == reason.replace(" ", "")
    assert len(lines) > 5 and max(font.getlength(line) for line in lines) <= 300
    for path in capture.glob("sequences/*/sequence.json"):
        path.write_text("{")
    with pytest.raises(DataError, match="nothing to show.*ann_take: .*bob_take: ") as caught:
        write_contact_sheet(capture, tmp_path / "sheet.png")
    assert "\n" not in str(caught.value) and not (tmp_path / "sheet.png").exists()


def test_outlines_follow_the_regions() -> None:
    image = np.zeros((10, 10, 3), np.uint8)
    mask, rig = np.zeros((10, 10), bool), np.zeros((10, 10), bool)
    mask[2:8, 2:8], rig[4:9, 4:9] = True, True
    drawn = draw_outlines(image, mask, rig)
    assert (drawn[2, 2:8] == MASK_COLOR).all() and (drawn[4, 4:9] == RIG_COLOR).all()
    assert (drawn[3, 3] == 0).all() and (image == 0).all()
