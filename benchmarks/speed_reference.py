"""Networks to time ours beside, with random weights: a network's time goes by its shape, not by what it has learnt.

    python benchmarks/speed_reference.py --mobilenet mobilenet.onnx --paper paper.onnx --face-alignment fan.onnx
    jvcr benchmark --against mobilenet.onnx paper.onnx fan.onnx

--mobilenet writes MobileNet v1 (Howard et al., 2017, table 1) at full width, for 120x120 images and 62 outputs: the
shape of the full model of 3DDFA_V2 (Guo et al., ECCV 2020). --paper writes the `paper` preset of this package. Both
need torch and onnx: pip install "jvcr[train]". --face-alignment writes the two networks that face-alignment runs for 68
landmarks in three dimensions, a FAN of four hourglasses and a residual network for the depths, one after the other
(Bulat and Tzimiropoulos, ICCV 2017); their shapes are those of its release 1.1.1, pip install face-alignment==1.1.1.
"""

import argparse
import sys
from pathlib import Path

import torch
from torch import nn

from jvcr.files import replacing
from jvcr.model import JVCR
from jvcr.model.config import PAPER
from jvcr.scheme import FACE68
from jvcr.weights.header import WeightsHeader
from jvcr.weights.onnx import export_onnx

IMAGE_SIZE, OUTPUTS = 120, 62

SEPARABLE = (
    *((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)),
    *((512, 1), (512, 1), (512, 1), (512, 1), (512, 1), (1024, 2), (1024, 1)),
)
"""Channels after each depthwise separable convolution, and its stride."""


def convolution(inputs, outputs, kernel, stride=1, groups=1):
    layer = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs), nn.ReLU())


def mobilenet():
    network = nn.Sequential(convolution(3, 32, 3, stride=2))
    channels = 32
    for outputs, stride in SEPARABLE:
        network.append(convolution(channels, channels, 3, stride, groups=channels))
        network.append(convolution(channels, outputs, 1))
        channels = outputs
    return network.extend([nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, OUTPUTS)]).eval()


def write_mobilenet(path):
    image = torch.zeros(1, 3, IMAGE_SIZE, IMAGE_SIZE)
    program = torch.onnx.export(mobilenet(), (image,), dynamo=True, input_names=["image"], verbose=False)
    with replacing(path) as temporary:
        program.save(temporary)


def write_paper(path):
    export_onnx(path, JVCR(PAPER), WeightsHeader("paper", PAPER.to_dict(), FACE68))


class FaceAlignment(nn.Module):
    """What face-alignment computes between its crop and its read-out; its heat maps are drawn anew in between."""

    def __init__(self):
        from face_alignment.models import FAN, ResNetDepth

        super().__init__()
        self.points, self.depths = FAN(4), ResNetDepth()

    def forward(self, image):
        heat_maps = self.points(image)[-1]
        shown = nn.functional.interpolate(heat_maps, scale_factor=4.0)
        return heat_maps, self.depths(torch.cat([image, shown], dim=1))


def write_face_alignment(path):
    image = torch.zeros(1, 3, 256, 256)
    program = torch.onnx.export(FaceAlignment().eval(), (image,), dynamo=True, input_names=["image"], verbose=False)
    with replacing(path) as temporary:
        program.save(temporary)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mobilenet", type=Path, metavar="FILE", help="write MobileNet v1 there, ONNX")
    parser.add_argument("--paper", type=Path, metavar="FILE", help="write the paper preset there, ONNX")
    parser.add_argument("--face-alignment", type=Path, metavar="FILE", help="write face-alignment's there")
    options = parser.parse_args()
    wanted = (
        (options.mobilenet, write_mobilenet),
        (options.paper, write_paper),
        (options.face_alignment, write_face_alignment),
    )
    if not any(path for path, _ in wanted):
        parser.error("say what to write: --mobilenet FILE, --paper FILE, --face-alignment FILE, or several")
    torch.manual_seed(0)
    for path, write in wanted:
        if path is not None:
            print(f"writing {path}", file=sys.stderr)
            write(path)


if __name__ == "__main__":
    main()
