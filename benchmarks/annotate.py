"""How fast `jvcr annotate` is by engine and workers, what each costs over the bare work, and how its memory grows.

    python benchmarks/annotate.py --json benchmarks/results/DATE-annotate.json

Rates are of `--images` photographs (drawn heads of 640 x 480 pixels, as many files) from the first finished part to the
last, so that starting does not count; each run is a process of its own, and all are repeated in turn. Beside them: the
landmarker called in a loop, and the landmark network alone, both on one thread. Memory is the system's count of the
peak, of 2,000 and of 20,000 photographs.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from memory import DRAWN, peak_bytes

IMAGES_PER_PART = 50
MEMORY_OF = (2_000, 20_000)


def draw(folder, count):
    """So many files, of which `DRAWN` differ."""
    import cv2

    from jvcr.synthetic.dataset import synthetic_face

    folder.mkdir()
    for index in range(count):
        path = folder / f"{index:06d}.jpg"
        if index < DRAWN:
            image = cv2.copyMakeBorder(synthetic_face(index, size=480).draw()[0], 0, 0, 80, 80, cv2.BORDER_REFLECT_101)
            path.write_bytes(cv2.imencode(".jpg", image[:, :, ::-1].copy())[1].tobytes())
        else:
            os.link(folder / f"{index % DRAWN:06d}.jpg", path)


def annotated(engine, workers, folder, out):
    """Images a second, seconds until the first part, and the peaks of memory."""
    from jvcr.annotate.destination import Destination
    from jvcr.annotate.engines import annotate_on_cores, annotate_on_ray
    from jvcr.annotate.sources import Source
    from jvcr.annotate.work import Options

    began, options, done = time.perf_counter(), Options(), []
    source, destination = Source(folder, IMAGES_PER_PART), Destination(out, IMAGES_PER_PART)
    destination.open({})

    def tell(tally):
        if tally.images:
            done.append((time.perf_counter() - began, tally.images))

    if engine == "local":
        annotate_on_cores(options, source.pieces(), destination, workers, tell)
    else:
        annotate_on_ray(options, list(source.pieces()), destination, workers, tell)
    rate = sum(images for _, images in done[1:]) / (done[-1][0] - done[0][0])
    peaks = {"driver": peak_bytes(), "largest worker": 1024 * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss}
    return {"images_per_second": rate, "first_part_s": done[0][0], "peak_bytes": peaks}


def looped(folder):
    """Images a second of calls of the landmarker, and faces a second of the network alone, on one thread."""
    import numpy as np

    from jvcr.annotate.work import Options

    landmarker, paths = Options().landmarker(1), sorted(Path(folder).iterdir())[:200]
    landmarker(paths[0])
    began = time.perf_counter()
    faces = sum(len(landmarker(path)) for path in paths)
    calls = len(paths) / (time.perf_counter() - began)
    network = landmarker._network
    crops = np.zeros((1, network.info.image_size, network.info.image_size, 3), np.uint8)
    network.run(crops)
    began = time.perf_counter()
    for _ in range(200):
        network.run(crops)
    return {
        "calls_per_second": calls,
        "faces": faces / len(paths),
        "network_per_second": 200 / (time.perf_counter() - began),
    }


RUN = "run"
"""The first argument of the process that does what is measured."""


def measured(*arguments):
    """What a function of this file gives in a process of its own."""
    command = [sys.executable, __file__, RUN, json.dumps(arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"{arguments} failed")
    return json.loads(done.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1500, help="of each timed run")
    parser.add_argument("--rounds", type=int, default=3, help="how often all is timed in turn; medians count")
    parser.add_argument("--no-memory", action="store_true", help="leave the runs for memory out")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    options = parser.parse_args()

    from jvcr.benchmark.machine import machine, versions
    from jvcr.files import write_json

    jobs = [("local", 1), ("local", 2), ("ray", 1), ("ray", 2)]
    runs, loops, peaks = {job: [] for job in jobs}, [], {}
    folder = Path(tempfile.mkdtemp(prefix="jvcr-annotate-"))
    try:
        print("drawing photographs", file=sys.stderr)
        draw(folder / "photos", options.images)
        for number in range(options.rounds):
            print(f"round {number + 1} of {options.rounds}", file=sys.stderr)
            loops.append(measured("looped", str(folder / "photos")))
            for job in jobs:
                runs[job].append(measured("annotated", *job, str(folder / "photos"), str(folder / "out")))
                shutil.rmtree(folder / "out")
        for count in () if options.no_memory else MEMORY_OF:
            print(f"memory of {count:,}", file=sys.stderr)
            draw(folder / str(count), count)
            peaks[count] = measured("annotated", "local", 2, str(folder / str(count)), str(folder / "out"))[
                "peak_bytes"
            ]
            shutil.rmtree(folder / "out")
    finally:
        shutil.rmtree(folder)

    def median(rows, key):
        return statistics.median(row[key] for row in rows)

    calls, network = median(loops, "calls_per_second"), median(loops, "network_per_second")
    faces = median(loops, "faces")
    rates = {f"{engine}, {workers}": median(rows, "images_per_second") for (engine, workers), rows in runs.items()}
    start = {f"{engine}, {workers}": median(rows, "first_part_s") for (engine, workers), rows in runs.items()}
    scaling = {
        engine: statistics.median(
            two["images_per_second"] / one["images_per_second"]
            for one, two in zip(runs[engine, 1], runs[engine, 2], strict=True)
        )
        for engine in ("local", "ray")
    }
    print(f"the landmark network alone          {network:7.1f} faces a second, {faces:.2f} faces an image")
    print(f"the landmarker, called in a loop    {calls:7.1f} images a second")
    for name, rate in rates.items():
        print(f"{name + ' worker(s)':35s} {rate:7.1f} images a second, first part after {start[name]:.1f} s")
    for engine, ratio in scaling.items():
        print(
            f"{engine}: 2 workers are {ratio:.2f} times 1; 1 worker is {rates[f'{engine}, 1'] / calls:.2f} of the loop"
        )
    for count, of in peaks.items():
        print(f"memory of {count:,} images: " + ", ".join(f"{who} {peak / 2**20:.0f} MiB" for who, peak in of.items()))
    if options.json:
        figures = {
            "command": " ".join(["python", "benchmarks/annotate.py", *sys.argv[1:]]),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": machine(),
            "versions": versions(),
            "network_faces_per_second": network,
            "faces_per_image": faces,
            "loop_images_per_second": calls,
            "images_per_second": rates,
            "first_part_s": start,
            "two_workers_over_one": scaling,
            "peak_bytes": peaks,
        }
        write_json(options.json, figures)


if __name__ == "__main__":
    if sys.argv[1:2] == [RUN]:
        name, *arguments = json.loads(sys.argv[2])
        print(json.dumps({"annotated": annotated, "looped": looped}[name](*arguments)))
    else:
        main()
