"""The answers of the service, with their units."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

Point = Annotated[list[float], Field(min_length=3, max_length=3)]


class FaceAnswer(BaseModel):
    """A face, as `jvcr.Face.to_dict` gives it."""

    points: list[Point] = Field(
        description="Landmarks x, y, z in pixels of the image: x right, y down, z away from the camera, its mean over "
        "the landmarks at 0. An integer is a pixel's centre."
    )
    box: Annotated[list[float], Field(min_length=4, max_length=4)] = Field(
        description="x0, y0, x1, y1 in pixels: where the face was detected."
    )
    angle: float = Field(description="Degrees by which the box is turned clockwise about its middle.")
    score: float | None = Field(description="The detector's certainty that this is a face, 0 to 1.", ge=0, le=1)
    confidence: list[float] = Field(
        description="For each landmark how far the volume supports it, 0 to 1; a rank, not a probability."
    )
    expected_error: list[float] | None = Field(
        description="For each landmark the distance from the truth to expect, percent of the face's size."
    )
    yaw: float | None = Field(description="Degrees; positive when the nose points to the left side of the image.")
    pitch: float | None = Field(description="Degrees; positive when the head looks up.")
    roll: float | None = Field(description="Degrees; positive when the head leans clockwise on the screen.")
    rotation: Annotated[list[Point], Field(min_length=3, max_length=3)] | None = Field(
        description="3x3 matrix: turns a head that looks straight at the camera into this one, in `points`' frame."
    )
    eye_open: Annotated[list[float], Field(min_length=2, max_length=2)] | None = Field(
        description="How far the face's own left and right eye are open, 0 closed to 1 wide open."
    )
    mouth_open: float | None = Field(description="How far the lips are apart, 0 closed to 1 wide open.", ge=0, le=1)
    scheme: str = Field(description="Which landmarks these are; face68 is the 68 points of iBUG 300-W.")


class VolumeAnswer(BaseModel):
    """The estimated compact volume of a face: where any landmark is likely to be."""

    shape: Annotated[list[int], Field(min_length=3, max_length=3)] = Field(description="Cells along z, y and x.")
    data: str = Field(description="Its values in the order z, y, x, a byte each (255 is 1.0), in base64.")
    to_image: Annotated[list[list[float]], Field(min_length=3, max_length=3)] = Field(
        description="3x4 matrix: takes the indices (x, y, z, 1) of a cell's centre to the frame of `points`."
    )


class ImageAnswer(BaseModel):
    """What was found in an image."""

    width: int = Field(description="Of the upright image, pixels.")
    height: int = Field(description="Of the upright image, pixels.")
    faces: list[FaceAnswer] = Field(description="The most certain face first; no face is an empty list.")
    volumes: list[VolumeAnswer] | None = Field(default=None, description="One for each face, if asked for.")


class Problem(BaseModel):
    """Why a request was not served."""

    detail: str = Field(description="What is wrong, and what would be right.")


class BatchItem(BaseModel):
    """One image of a batch: its answer, or its problem."""

    result: ImageAnswer | None = None
    problem: str | None = Field(default=None, description="Why this image could not be used; the others are served.")


class BatchAnswer(BaseModel):
    """The images of a batch, in the order sent."""

    results: list[BatchItem]


class Health(BaseModel):
    """That the service answers, and what it serves."""

    status: str
    version: str
    weights: str
    num_landmarks: int
