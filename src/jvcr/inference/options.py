"""What a caller chooses of finding faces and landmarks, and the landmarker that does it: for all commands alike."""

from __future__ import annotations

from dataclasses import dataclass

from jvcr.inference.landmarker import Landmarker
from jvcr.inference.named import named_detector, providers_of


@dataclass(frozen=True)
class LandmarkerOptions:
    """How faces are found and landmarks made, by names and numbers: see `Landmarker` and `named_detector`."""

    weights: str = "compact"
    detector: str | None = None
    device: str = "cpu"
    passes: int = 1
    min_score: float | None = None
    detect_size: int | None = None
    min_face: float | None = None

    def landmarker(self, threads: int | None = None, detects: bool = True, max_batch: int = 64) -> Landmarker:
        """What does all that; without ``detects`` the caller says where the faces are.

        Raises:
            FileNotFoundError, ImportError, ValueError: as `Landmarker` and `named_detector`.
        """
        providers = providers_of(self.device)
        landmarker = Landmarker(self.weights, threads, providers=providers, passes=self.passes, max_batch=max_batch)
        if detects:
            landmarker.detector = named_detector(
                self.detector,
                self.detect_size,
                self.min_score,
                landmarker.threads,
                self.device,
                self.min_face,
                landmarker.scheme.is_face,
            )
        return landmarker
