"""Pictures whose pixels are numbers that mean something: read as they are, never turned into colours."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from jaxtyping import Shaped
from PIL import Image

from partseg_cli.data.converters.conversion import InvalidAnnotationError
from partseg_cli.errors import DataError
from partseg_cli.io.images import photo_size


def read_numbers(path: Path, kind: str, reason: str) -> tuple[str, Shaped[np.ndarray, "..."]]:
    """Give mode and values of a picture; of a palette the indices count.

    Args:
        path: of the file.
        kind: its format, as Pillow calls it, such as "PNG".
        reason: of the defect that it is otherwise.

    Raises:
        DefectError: it is missing, something else, larger than a photo may be, or not whole.
    """
    try:
        photo_size(path)
        with warnings.catch_warnings(action="ignore"), Image.open(path, formats=(kind,)) as image:
            return image.mode, np.array(image)
    except DataError as error:
        raise InvalidAnnotationError(reason, str(error).replace(str(path), path.name)) from error
    except Exception as error:  # Pillow raises whatever broken bytes lead it to
        why = " ".join(str(error).replace(str(path), path.name).split()) or type(error).__name__
        raise InvalidAnnotationError(reason, f"{path.name}: {why}") from error
