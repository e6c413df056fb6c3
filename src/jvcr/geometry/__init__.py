"""Frames and the maps between them: the crop's similarity, warping pixels by it, head pose, reading a volume.

Everything here is numpy (and OpenCV for pixels); nothing of the package's other parts is imported.
"""

from jvcr.geometry.crop import Crop
from jvcr.geometry.pose import HeadPose, euler_to_rotation, rotation_to_euler, similarity_transform

__all__ = ["Crop", "HeadPose", "euler_to_rotation", "rotation_to_euler", "similarity_transform"]
