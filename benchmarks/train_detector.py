"""Trains both networks of the face detector within a given time.

    python benchmarks/label_photos.py DETECT labels.npz
    python benchmarks/train_detector.py --faces FACES3D --photos DETECT --labels labels.npz --out FOLDER --minutes 8

FACES3D is a folder with ``landmarks.npz`` and images, DETECT one with photographs and ``boxes.json``. The
learning rate follows the clock, and what was learned so far (the running average of the weights) is kept every minute.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from jvcr.data.pasting import FaceCrop, Photo
from jvcr.data.scenes import SceneSettings, SceneSource
from jvcr.geometry.crop import upright_squares
from jvcr.geometry.pose import leans_deg
from jvcr.model.detector import Detector, DetectorConfig, normalized
from jvcr.scheme import FACE68
from jvcr.training.detection import (
    Cells,
    look_losses,
    look_targets,
    otherwise_seen,
    practice_places,
    proposal_losses,
    proposals,
    squares,
)

SOURCE_WEIGHT = {
    "facemask853": 1.0,
    "eden_mask679": 1.0,
    "eden_heads916": 1.0,
    "coco_person": 1.5,
    "lfw": 0.7,
    "negative": 1.0,
}
"""How often a photograph of each source is taken, relative to the others."""

PROPOSAL_WEIGHTS = (1.0, 0.5, 1.0, 0.5)
LOOK_WEIGHTS = (1.0, 6.0, 3.0, 1.0)
"""Of the losses of score, centre, size and angle."""


def held_out(name: str) -> bool:
    """Whether a photograph is kept for validation: one in eight, by its name."""
    return zlib.crc32(name.encode()) % 8 == 0


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """The pixels of a file of the training set."""
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if pixels is None:
        raise ValueError(f"{path} cannot be read")
    return np.ascontiguousarray(pixels[:, :, ::-1])


def load_crops(folder: Path, limit: int, pool: ThreadPoolExecutor) -> list[FaceCrop]:
    """The training crops of a folder like faces3d."""
    labels = np.load(folder / "landmarks.npz")
    chosen = np.flatnonzero(labels["split"] == "train")
    chosen = chosen[:: max(1, len(chosen) // limit)] if limit else chosen
    points = labels["points"][chosen]
    faces = upright_squares(points, leans_deg(points, FACE68.template)).astype(np.float32)
    images = pool.map(lambda name: read_rgb(folder / name), labels["image"][chosen])
    return [FaceCrop(pixels, face) for pixels, face in zip(images, faces, strict=True)]


def load_photos(folder: Path, labels: Path, pool: ThreadPoolExecutor) -> tuple[list[Photo], NDArray[np.float64]]:
    """The photographs for training, with the faces that ``label_photos.py`` gave them, and how often each is taken."""
    of = np.load(labels)
    chosen = [i for i, name in enumerate(of["files"]) if not held_out(str(name))]
    images = pool.map(lambda i: read_rgb(folder / str(of["files"][i])), chosen)
    photos = [Photo(pixels, of["faces"][of["owner"] == i]) for i, pixels in zip(chosen, images, strict=True)]
    return photos, np.array([SOURCE_WEIGHT[str(of["sources"][i])] for i in chosen])


class SceneBatches(Dataset[tuple[Tensor, Tensor]]):
    """Batches of scenes by their number: pictures (n, size, size, 3) uint8 and faces (n, most, 5)."""

    def __init__(self, source: SceneSource, batch: int, count: int) -> None:
        self.source, self.batch, self.count = source, batch, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        if number >= self.count:
            raise IndexError(number)
        cv2.setNumThreads(1)
        size = self.source.settings.size
        pictures = np.empty((self.batch, size, size, 3), np.uint8)
        rows = []
        for i in range(self.batch):
            scene = self.source.scene(number * self.batch + i)
            pictures[i] = scene.pixels
            rows.append(scene.faces)
        faces = np.zeros((self.batch, max(1, *map(len, rows)), 5), np.float32)
        for i, row in enumerate(rows):
            faces[i, : len(row)] = row
        return torch.from_numpy(pictures), torch.from_numpy(faces)


def learning_rate(done: float, peak: float) -> float:
    """The learning rate at a part of the time: a short rise, a plateau, a cosine down to nothing."""
    if done < 0.02:
        return peak * (0.1 + 0.9 * done / 0.02)
    return peak * (1.0 if done < 0.2 else 0.5 * (1 + math.cos(math.pi * min(1.0, (done - 0.2) / 0.8))) + 1e-3)


def fed(loader: DataLoader[tuple[Tensor, Tensor]], device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """The loader's batches on the device, as the networks take them.

    Where the device waits for scenes, each is used twice, the second time mirrored and often turned.
    """
    waited, fetched = 0.0, time.monotonic()
    turns = np.random.default_rng(0)
    for pictures, faces in loader:
        waited = 0.9 * waited + 0.1 * (time.monotonic() - fetched)
        faces = faces.to(device, non_blocking=True)
        pictures = normalized(pictures.to(device, non_blocking=True).permute(0, 3, 1, 2).float()).contiguous()
        yield pictures, faces
        if device.type == "cuda" and waited > 0.01:
            yield otherwise_seen(pictures, faces, int(turns.choice([0, 0, 0, 1, 2, 3])))
        if device.type == "cuda":
            torch.cuda.synchronize()
        fetched = time.monotonic()


def main() -> None:
    """Trains."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faces", type=Path, required=True)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--labels", type=Path, required=True, help="of label_photos.py")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=10, help="from the start of the process to its end")
    parser.add_argument("--until", type=float, help="instead, the time at which it ends, seconds since 1970")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--limit", type=int, default=0, help="load only so many crops")
    parser.add_argument("--start", type=Path, help="weights to go on from")
    parser.add_argument("--empty", type=float, default=0.12, help="probability of a scene without any face")
    parser.add_argument("--distractor", type=float, default=0.25, help="share of pasted patches that show no face")
    parser.add_argument("--config", type=json.loads, default={}, help="of the networks, JSON")
    parser.add_argument("--ready", type=float, default=0, help="wait so many seconds for the folder of faces")
    arguments = parser.parse_args()
    began, stopped = time.monotonic(), threading.Event()
    end = began + (60 * arguments.minutes if arguments.until is None else arguments.until - time.time()) - 5
    while not (arguments.faces / "landmarks.npz").exists() and time.monotonic() - began < arguments.ready:
        time.sleep(1)
    if arguments.ready:
        time.sleep(2)  # the file may still be written

    cv2.setNumThreads(1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with ThreadPoolExecutor(max(1, arguments.workers)) as pool:
        photos, weights = load_photos(arguments.photos, arguments.labels, pool)
        crops = load_crops(arguments.faces, arguments.limit, pool)
    settings = SceneSettings(empty=arguments.empty, distractor=arguments.distractor)
    source = SceneSource(photos, weights, crops, settings, arguments.seed)
    counted = {"photos": len(photos), "crops": len(crops), "faces": sum(len(p.faces) for p in photos)}
    for stop in (signal.SIGTERM, signal.SIGINT):
        signal.signal(stop, lambda *_: stopped.set())
    print(f"loaded {counted} in {time.monotonic() - began:.1f} s, {device}", flush=True)

    torch.manual_seed(arguments.seed)
    config = DetectorConfig.from_dict(arguments.config) if arguments.config else DetectorConfig()
    network = Detector(config)
    if arguments.start:
        network.load_state_dict(torch.load(arguments.start, map_location="cpu")["weights"])
    network = network.to(device)
    layout = torch.channels_last if device.type == "cuda" else torch.contiguous_format
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        network = network.to(memory_format=torch.channels_last)
    average = {k: v.detach().clone() for k, v in network.state_dict().items()}
    floating = [k for k, v in average.items() if v.is_floating_point()]
    matrices = [p for p in network.parameters() if p.ndim > 1]
    vectors = [p for p in network.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.02}, {"params": vectors, "weight_decay": 0.0}], lr=arguments.rate
    )
    batches = SceneBatches(source, arguments.batch, 10_000_000)
    loader = DataLoader(
        batches,
        batch_size=None,
        shuffle=False,
        num_workers=arguments.workers,
        pin_memory=device.type == "cuda",
        prefetch_factor=3 if arguments.workers else None,
    )
    cells = Cells.of(settings.size, settings.size, config.proposal, device)
    arguments.out.mkdir(parents=True, exist_ok=True)

    def save() -> None:
        temporary = arguments.out / "detector.pt.part"
        torch.save(
            {"config": config.to_dict(), "weights": {k: v.cpu() for k, v in average.items()}, "log": log}, temporary
        )
        os.replace(temporary, arguments.out / "detector.pt")

    log: list[dict[str, float]] = []
    start = saved = told = time.monotonic()
    sums, summed, step, seen = torch.zeros(8, device=device), 0, 0, 0
    try:
        for pictures, faces in fed(loader, device):
            now = time.monotonic()
            done = (now - start) / max(1.0, end - start)
            if done >= 1 or stopped.is_set():
                break
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(done, arguments.rate)
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
                outputs = network.proposal(pictures.contiguous(memory_format=layout))
            found, _ = proposals(outputs.detach(), cells, settings.size, settings.size, 6)
            places = torch.cat([found, practice_places(faces, settings.size, 6, 2)], dim=1)
            shown = normalized(squares(pictures.contiguous(), places, config.look)).contiguous(memory_format=layout)
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
                looked = network.look(shown)
            losses = torch.stack(
                [*proposal_losses(outputs, faces, cells), *look_losses(looked, look_targets(places, faces))]
            )
            loss = (losses * losses.new_tensor([*PROPOSAL_WEIGHTS, *LOOK_WEIGHTS])).sum()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 10.0)
            optimizer.step()
            with torch.no_grad():
                decay = min(0.998, (1 + step) / (10 + step))
                state = network.state_dict()
                torch._foreach_lerp_([average[k] for k in floating], [state[k] for k in floating], 1 - decay)
            sums, summed, step, seen = sums + losses.detach(), summed + 1, step + 1, seen + len(pictures)
            if now - told > 15 or step in (10, 50):
                mean = (sums / summed).tolist()
                if not all(map(math.isfinite, mean)):
                    sys.exit("the losses are not finite")
                log.append({"seconds": now - start, "scenes": seen, "losses": mean})
                rate = seen / max(now - start, 1e-9)
                print(
                    f"{now - began:6.0f} s {step:6d} {rate:6.0f}/s | " + " ".join(f"{v:.3f}" for v in mean), flush=True
                )
                sums, summed, told = torch.zeros_like(sums), 0, now
            if now - saved > 60:
                save()
                saved = now
    finally:  # a signal that stops all takes the loader's workers first
        save()
    print(f"done: {step} steps, {seen} scenes, {time.monotonic() - began:.0f} s", flush=True)
    os._exit(0)  # the loader's workers may be in the middle of a batch


if __name__ == "__main__":
    main()
