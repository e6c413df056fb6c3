"""Frames and the maps between them, in numpy and OpenCV; nothing of the package's other parts is imported."""

from jvcr.geometry.crop import Crop
from jvcr.geometry.pose import HeadPose, euler_to_rotation, rotation_to_euler, similarity_transform

__all__ = ["Crop", "HeadPose", "euler_to_rotation", "rotation_to_euler", "similarity_transform"]
