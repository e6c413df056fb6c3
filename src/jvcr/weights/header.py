"""What weight files say of themselves, and where the files are: all that reading them takes without torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from jvcr.files import parse
from jvcr.geometry.crop import CROP_RULES, CropRule
from jvcr.scheme import LandmarkScheme
from jvcr.weights.calibration import Calibration

if TYPE_CHECKING:
    from jvcr.model.config import NetworkConfig

FOLDER = Path(__file__).parent
"""Of the weights that ship, each as ``NAME.onnx`` for use and ``NAME.safetensors`` for research."""

FORMAT = 1
"""Version of the JSON that both kinds of file carry under the key "jvcr"."""


@dataclass(frozen=True)
class WeightsHeader:
    """What a weight file says of itself.

    Attributes:
        name: of the weights.
        network: shape of the network, as `jvcr.model.config.NetworkConfig.to_dict` gives it.
        scheme: what its N landmarks are.
        training: how it was made: recipe, data, ``faces_seen``, validation figures; empty where it says nothing.
        calibration: what its confidences are worth; None where nobody measured it (`jvcr export --calibrate`).
    """

    name: str
    network: Mapping[str, Any]
    scheme: LandmarkScheme
    training: Mapping[str, Any] = field(default_factory=dict)
    calibration: Calibration | None = None

    def __post_init__(self) -> None:
        if self.crop not in CROP_RULES or not isinstance(self.stretch, bool):
            raise ValueError(
                f"its crops are {self.crop!r} and stretched {self.stretch!r}, which this version of jvcr does not know"
            )

    @property
    def image_size(self) -> int:
        """Width and height of the image that the network takes, pixels."""
        return int(self.network["voxel"]["image_size"])

    @property
    def crop(self) -> CropRule:
        """What the size of its crops goes by."""
        return self.network.get("crop", "longer")

    @property
    def stretch(self) -> bool:
        """Whether it takes crops whose pixels are stretched to the full range."""
        return self.network.get("stretch", False)

    @property
    def config(self) -> NetworkConfig:
        """The network's shape, checked; this imports torch.

        Raises:
            ValueError: a key is unknown or a value does not fit.
        """
        from jvcr.model.config import NetworkConfig

        return NetworkConfig.from_dict(dict(self.network))

    def to_json(self) -> str:
        """One line of JSON; `from_json` reads it back."""
        data = {
            "format": FORMAT,
            "name": self.name,
            "image_size": self.image_size,
            "scheme": self.scheme.to_dict(),
            "network": self.network,
            "training": self.training,
        }
        if self.calibration:
            data["calibration"] = self.calibration.to_dict()
        return json.dumps(data)

    @classmethod
    def from_json(cls, text: str) -> WeightsHeader:
        """The opposite of `to_json`.

        Raises:
            ValueError: of another format, or not such a header.
        """
        try:
            data = parse(text)
            if data["format"] != FORMAT:
                raise ValueError(f"it has format {data['format']!r}, this version of jvcr reads {FORMAT}: update jvcr")
            name, training = str(data["name"]), data.get("training")
            network = {"voxel": {"image_size": int(data["image_size"])}, **data.get("network", {})}
            scheme = LandmarkScheme.from_dict(data["scheme"])
            calibration = data.get("calibration")
            return cls(
                name,
                network,
                scheme,
                training if isinstance(training, dict) else {},
                calibration and Calibration.from_dict(calibration, scheme.num_landmarks),
            )
        except KeyError as error:
            raise ValueError(f"its header lacks the key {error}") from error
        except (json.JSONDecodeError, TypeError, AttributeError, OverflowError) as error:
            raise ValueError(f"its header is not one of jvcr's: {error!r}") from error


def find_weights(weights: str | Path, suffix: Literal[".onnx", ".safetensors"]) -> Path:
    """The file of shipped weights by their name, such as "compact", or the path given.

    Raises:
        FileNotFoundError: neither exists; the message lists the shipped names.
        IsADirectoryError: the path is a folder.
        ValueError: the path is the other kind of file.
    """
    shipped = FOLDER / f"{weights}{suffix}"
    path = shipped if shipped.is_file() else Path(weights)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder: give the {suffix} file in it")
    if not path.is_file():
        if suffix == ".safetensors" and (FOLDER / f"{weights}.onnx").is_file():
            raise FileNotFoundError(
                f"no torch weights of {str(weights)!r} are installed: those of compact come with the source, which "
                "`pip download --no-deps --no-binary jvcr jvcr` fetches; give the path of its "
                "src/jvcr/weights/compact.safetensors"
            )
        names = ", ".join(sorted(f.stem for f in FOLDER.glob(f"*{suffix}"))) or "none in this installation"
        how = " (`jvcr export` makes one)" if suffix == ".onnx" else ""
        raise FileNotFoundError(
            f"no weights {str(weights)!r}: give the path of a {suffix} file{how} or a shipped name: {names}"
        )
    if suffix == ".onnx" and path.suffix == ".safetensors":
        raise ValueError(f"{path} holds weights for torch: make an ONNX file of it, jvcr export {path} --out NAME.onnx")
    if suffix == ".safetensors" and path.suffix == ".onnx":
        raise ValueError(f"{path} is for use without torch: give the .safetensors file that it was made from")
    return path
