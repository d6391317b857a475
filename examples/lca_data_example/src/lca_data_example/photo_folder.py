"""Photos of people in a folder, one JSON file per person: everything a data module needs, on one page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils import data

from lca_data_modules import LCADataModule
from lca_lightning.batch import Batch, Driving, Targets
from lca_lightning.datasets.crops import FrameCrop, crop_frame, to_float
from lca_lightning.datasets.samples import SampleSource, stack_references
from lca_lightning.datasets.sampling import shot_generator
from lca_lightning.errors import DataError


class Person:
    """One ``person.json`` and the pictures it names.

    Args:
        folder: Holds ``person.json``, pictures and masks.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            values = json.loads((folder / "person.json").read_text(encoding="utf-8"))
            self.name, self.split = str(values["name"]), str(values["split"])
            self.identity_I = np.array(values["identity"], np.float32)
            self.photos: list[dict[str, Any]] = list(values["photos"])
        except (OSError, ValueError, KeyError) as error:
            path = folder / "person.json"
            raise DataError(f"{path} is missing or lacks {error}; write it again.") from error
        if len(self.photos) < 2:
            raise DataError(f"{self.name} needs at least two photos: one to learn from, one to reproduce.")

    def cut(self, photo: dict[str, Any], image_size: Any, face_size: Any) -> FrameCrop:
        """The photo around the person, with its intrinsics."""
        image = np.asarray(Image.open(self.folder / photo["image"]).convert("RGB"))
        mask = np.asarray(Image.open(self.folder / photo["mask"]).convert("L"))
        rows, columns = np.nonzero(mask >= 128)
        box = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], float)
        return crop_frame(image, mask, np.array(photo["K"]), box, None, tuple(image_size), tuple(face_size))


class PhotoSamples(SampleSource):
    """Draws a person and some of its photos for each number of the stream.

    Args:
        people: Whom to draw from.
        options: Of the data module.
    """

    rig = "anny"

    def __init__(self, people: list[Person], options: dict[str, Any]) -> None:
        self.people, self.options = people, options

    def sample(self, number: int, views: int) -> Batch:
        """A pure function of the seed and the number: nothing else makes a run repeatable."""
        generator = shot_generator(self.options["seed"], number)
        person = self.people[int(generator.integers(len(self.people)))]
        order = [person.photos[place] for place in generator.permutation(len(person.photos))]
        views = min(views, len(order) - 1)
        rest = order[views:]
        targets = [rest[place % len(rest)] for place in range(self.options["targets_per_sample"])]
        return self.build(person, order[:views], targets)

    def build(self, person: Person, references: list[Any], targets: list[Any]) -> Batch:
        """The batch of one row."""
        sizes = (self.options["image_size"], self.options["face_size"])
        crops = [person.cut(photo, *sizes) for photo in targets]
        keys = ("w2c", "rotations", "root")
        rows = {key: torch.tensor([[photo[key] for photo in targets]]) for key in keys}
        count = len(targets)
        return Batch(
            references=stack_references(
                [person.cut(photo, *sizes) for photo in references], tuple(sizes[1]), background=1.0
            ),
            driving=Driving(
                rows["rotations"].float(),
                rows["root"].float(),
                expression_BTE=torch.zeros(1, count, self.options["expression_size"]),
                gaze_BT8=torch.zeros(1, count, 8),
            ),
            targets=Targets(
                torch.stack([to_float(crop.image_HW3) for crop in crops])[None],
                torch.stack([to_float(crop.mask_HW) for crop in crops])[None],
                rows["w2c"].float(),
                torch.from_numpy(np.stack([crop.K_33 for crop in crops]))[None],
            ),
            identity_BI=torch.from_numpy(person.identity_I)[None],
            subjects=(person.name,),
            frames=(tuple(f"{person.name}/photo/{photo['image']}" for photo in targets),),
        )


class PhotoTests(data.Dataset[Batch]):
    """One item per person: its first photos as references, its last one as the target."""

    def __init__(self, people: list[Person], source: PhotoSamples, views: int) -> None:
        self.people, self.source, self.views = people, source, views

    def __len__(self) -> int:
        return len(self.people)

    def __getitem__(self, index: int) -> Batch:
        person = self.people[index]
        return self.source.build(person, person.photos[:-1][: self.views], person.photos[-1:])


class PhotoFolderDataModule(LCADataModule):
    """Photos of people with fitted bodies, one folder per person.

    Args:
        folder: Holds a folder with a ``person.json`` per person.
        test_views: Reference views in validation and test.
        expression_size: Expression coefficients of the rig, all zero here.
        **options: Options of every data module.
    """

    rig = "anny"

    def __init__(self, folder: str, test_views: int = 4, expression_size: int = 52, **options: Any) -> None:
        super().__init__(**options)

    def people(self, split: str) -> list[Person]:
        """People of a split, in order of their folders."""
        folders = sorted(path.parent for path in Path(self.hparams["folder"]).glob("*/person.json"))
        found = [person for person in map(Person, folders) if person.split == split]
        if not found and split == "train":
            raise DataError(f"{self.hparams['folder']} holds nobody of split 'train'; add a person.json.")
        return found

    def training_source(self) -> PhotoSamples:
        """Where training samples come from."""
        return PhotoSamples(self.people("train"), dict(self.hparams))

    def evaluation_sets(self, stage: str) -> dict[str, data.Dataset[Batch]]:
        """Everybody of split ``test``, for validation too."""
        people = self.people("test")
        if not people:
            return {}
        source = PhotoSamples(people, dict(self.hparams))
        return {stage: PhotoTests(people, source, self.hparams["test_views"])}

    def training_subjects(self) -> list[str]:
        """For the test that nobody is trained on and evaluated."""
        return [person.name for person in self.people("train")]

    def evaluation_subjects(self) -> list[str]:
        """The same."""
        return [person.name for person in self.people("test")]
