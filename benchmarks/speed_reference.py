"""Networks to time ours beside, with random weights: a network's time goes by its shape, not by what it has learnt.

    python benchmarks/speed_reference.py --mobilenet mobilenet.onnx --paper paper.onnx
    jvcr benchmark --against mobilenet.onnx paper.onnx

--mobilenet writes MobileNet v1 (Howard et al., 2017, table 1) at full width, for 120x120 images and 62 outputs: the
shape of the full model of 3DDFA_V2 (Guo et al., ECCV 2020). --paper writes the `paper` preset of this package. Both
need torch and onnx: pip install "jvcr[train]".
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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mobilenet", type=Path, metavar="FILE", help="write MobileNet v1 there, ONNX")
    parser.add_argument("--paper", type=Path, metavar="FILE", help="write the paper preset there, ONNX")
    options = parser.parse_args()
    if not (options.mobilenet or options.paper):
        parser.error("say what to write: --mobilenet FILE, --paper FILE or both")
    torch.manual_seed(0)
    for path, write in ((options.mobilenet, write_mobilenet), (options.paper, write_paper)):
        if path is not None:
            print(f"writing {path}", file=sys.stderr)
            write(path)


if __name__ == "__main__":
    main()
