"""What `jvcr serve` stands: times without load and at half its maximum rate, long load, hostile bodies.

    python benchmarks/serve_load.py
    python benchmarks/serve_load.py --seconds 300 --json serve.json
    python benchmarks/serve_load.py --batching

It starts the service itself, at a free port of this machine alone, and sends it one photograph again and again. The
client runs beside the service, on the same cores, so the figures are what both reach together.

- unloaded: one request after the other, on one connection
- maximum: as many connections as threads of the service, and two more; each asks again when it has its answer
- half: requests at random times, at half that rate on average, whether the ones before are answered or not; times
  count from when a request was due
- sustained: as maximum, for --seconds; errors, and the service's memory at its beginning and end
- hostile: cut and damaged files, noise, bombs, wrong types and forms, long heads, slow senders, clients that go away;
  then whether it still answers as before

--batching measures something else, in one process without a service: images in threads of their own, one each, against
the same images in batches that all threads work on together (several rounds by turns, the median). The processor time
of an image says which way is less work; other work on the same cores changes it less than the rate.
"""

import argparse
import contextlib
import http.client
import io
import queue
import random
import socket
import statistics
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"

SLOW_SECONDS = 3.0
"""How long a slow sender takes for a few bytes, before it goes away."""

ROUNDS = 5
"""Of --batching."""


class Service:
    """``jvcr serve`` in a process of its own."""

    def __init__(self, threads):
        command = [sys.executable, "-m", "jvcr", "serve", "--port", "0", "--threads", str(threads)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        told = self.process.stdout.readline()
        if "http://" not in told:
            sys.exit("the service did not start")
        self.port = int(told.split(":")[2].split("/")[0])

    def connection(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def resident_bytes(self):
        """Memory in use now, with that of the processes that decode; None where the system does not tell."""
        if not Path("/proc/self/smaps_rollup").is_file():
            return None
        processes, total = [self.process.pid], 0
        for process in processes:
            with contextlib.suppress(OSError):  # it has ended
                files = Path(f"/proc/{process}/task").glob("*/children")
                processes.extend(int(child) for file in files for child in file.read_text().split())
                lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
                total += 1024 * next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        return total

    def end(self):
        self.process.terminate()
        return self.process.wait(60)


def ask(connection, body, kind="image/jpeg", route="/v1/landmarks", **headers):
    """Status and body of an answer, or the error's name; an idle connection that the service has closed is renewed."""
    reused = connection.sock is not None
    try:
        connection.request("POST", route, body, {"Content-Type": kind, **headers})
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        if reused:
            return ask(connection, body, kind, route, **headers)
        return type(error).__name__, b""


def closed_loop(service, photo, clients, seconds):
    """Seconds of each request, and the number of each status, of clients that ask again when they have an answer."""
    until = time.monotonic() + seconds
    times, statuses = [], Counter()

    def client(_):
        connection = service.connection()
        while (start := time.monotonic()) < until:
            status, _ = ask(connection, photo)
            times.append(time.monotonic() - start)
            statuses[status] += 1
        connection.close()

    start = time.monotonic()
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(client, range(clients)))
    return times, statuses, time.monotonic() - start


def open_loop(service, photo, rate, seconds, clients=64):
    """As `closed_loop`, of requests that come at random times."""
    due = queue.Queue()
    times, statuses = [], Counter()

    def client(_):
        connection = service.connection()
        while (moment := due.get()) is not None:
            status, _ = ask(connection, photo)
            times.append(time.monotonic() - moment)
            statuses[status] += 1
        connection.close()

    rng = random.Random(0)
    with ThreadPoolExecutor(clients) as pool:
        running = [pool.submit(client, number) for number in range(clients)]
        moment = time.monotonic()
        until = moment + seconds
        while (moment := moment + rng.expovariate(rate)) < until:
            time.sleep(max(0, moment - time.monotonic()))
            due.put(moment)
        for _ in range(clients):
            due.put(None)
        for one in running:
            one.result()
    return times, statuses


def quantiles(times):
    cuts = statistics.quantiles(times, n=100, method="inclusive")
    return {"p50_s": round(cuts[49], 4), "p95_s": round(cuts[94], 4), "longest_s": round(max(times), 4)}


def bomb(side):
    """A PNG of many pixels in few bytes."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0))
    rows = zlib.compress(bytes(side * (side // 8 + 2)), 9)
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def hostile_requests(photo, number):
    """Bodies and heads that are wrong, each another one: content type, body, more headers."""
    from PIL import Image

    rng = random.Random(0)
    files = [photo]
    for kind in ("PNG", "WEBP", "GIF", "BMP", "TIFF", "JPEG"):
        file = io.BytesIO()
        Image.open(io.BytesIO(photo)).convert("RGB").resize((160, 120)).save(file, kind)
        files.append(file.getvalue())
    progressive = io.BytesIO()
    Image.new("RGB", (5000, 5000)).save(progressive, "JPEG", progressive=True)
    scans = progressive.getvalue()
    scans = scans[:-2] + scans[scans.rfind(b"\xff\xda") : -2] * 20_000 + b"\xff\xd9"
    bombs = [bomb(20_000), bomb(60_000), bomb(4_900), scans]
    form = "multipart/form-data; boundary=x"
    head = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'

    def damaged(file):
        file = bytearray(file)
        for _ in range(rng.randint(1, 50)):
            file[rng.randrange(len(file))] = rng.randrange(256)
        return bytes(file)

    makers = [
        lambda: ("image/jpeg", (file := rng.choice(files))[: rng.randrange(len(file))], {}),
        lambda: ("image/png", damaged(rng.choice(files)), {}),
        lambda: ("application/octet-stream", rng.randbytes(rng.randrange(1, 20_000)), {}),
        lambda: ("image/png", rng.choice(files)[:100] + rng.randbytes(2000), {}),
        lambda: (rng.choice(["text/plain", "application/json", "", "image", "multipart/mixed"]), photo, {}),
        lambda: (form, (head + photo + b"\r\n--x--\r\n")[: rng.randrange(len(photo))], {}),
        lambda: (form, damaged(head) + photo + b"\r\n--x--\r\n", {}),
        lambda: (form, head * rng.randrange(2, 2000), {}),
        lambda: ("image/jpeg", photo, {"X-Long": "y" * rng.choice([40_000, 200_000, 2_000_000])}),
        lambda: ("image/jpeg", bytes(rng.choice([10_000_001, 12_000_000])), {}),
        lambda: ("image/png", rng.choice(bombs), {}),
    ]
    weights = [20, 20, 10, 10, 5, 10, 10, 5, 4, 2, 2]
    return [maker() for maker in rng.choices(makers, weights, k=number)]


def slow_or_gone(service, photo, number):
    """Half of them send a byte now and then, the others go away in the middle."""
    head = f"POST /v1/landmarks HTTP/1.1\r\nHost: a\r\nContent-Length: {len(photo)}\r\n\r\n".encode()
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", service.port)) as wire:
        sent = (head + photo)[: 20 if number % 4 < 2 else len(head) + 1000]
        wire.sendall(sent)
        if number % 2:
            for _ in range(6):
                time.sleep(SLOW_SECONDS / 6)
                wire.sendall(b"X")
    return "slow or gone"


def hostile(service, photo, number):
    """The number of each status."""
    statuses = Counter()
    slow = number // 20
    requests = hostile_requests(photo, number - slow)

    def client(requests):
        connection = service.connection()
        for kind, body, headers in requests:
            statuses[ask(connection, body, kind, **headers)[0]] += 1
        connection.close()

    with ThreadPoolExecutor(12) as pool:
        others = [pool.submit(slow_or_gone, service, photo, i) for i in range(slow)]
        list(pool.map(client, [requests[i::4] for i in range(4)]))
        for one in others:
            statuses[one.result()] += 1
    return statuses


def measure_batching(photo, threads, json_file):
    from jvcr.inference.face_detector import FaceDetector
    from jvcr.inference.image import read_image
    from jvcr.inference.landmarker import Landmarker

    image = read_image(photo)
    alone = Landmarker(threads=1, detector=FaceDetector(threads=1))
    together = Landmarker(threads=threads, detector=FaceDetector(threads=threads))
    (face,) = alone(image)
    figures = {}
    with ThreadPoolExecutor(threads) as pool:
        for what, boxes in (("detector and network", None), ("network alone", face.box[None])):
            for size in (threads, 4 * threads):

                def each(size=size, boxes=boxes):
                    list(pool.map(lambda _: alone(image, boxes), range(size)))

                def batch(size=size, boxes=boxes):
                    together.batch([image] * size, None if boxes is None else [boxes] * size)

                def one(size=size, boxes=boxes):
                    alone.batch([image] * size, None if boxes is None else [boxes] * size)

                ways = {"a thread for each": each, "a batch": batch, "a batch on one thread": one}
                seconds, busy = {way: [] for way in ways.values()}, {way: [] for way in ways.values()}
                for turn in range(ROUNDS + 1):
                    for way in seconds:
                        start, busy_start = time.perf_counter(), time.process_time()
                        way()
                        if turn:  # the first is to warm up
                            seconds[way].append((time.perf_counter() - start) / size)
                            busy[way].append((time.process_time() - busy_start) / size)
                figures[f"{what}, {size} images"] = {
                    name: {
                        "images_per_s": round(1 / statistics.median(seconds[way]), 1),
                        "cpu_ms_per_image": round(1000 * statistics.median(busy[way]), 1),
                    }
                    for name, way in ways.items()
                }
    for name, ways in figures.items():
        told = (f"{way} {f['images_per_s']:6.1f} /s, {f['cpu_ms_per_image']:5.1f} ms CPU" for way, f in ways.items())
        print(f"{name:<34}" + "   ".join(told))
    write(json_file, {"threads": threads, "rounds": ROUNDS, "batching": figures})


def measure_service(photo, options):
    service = Service(options.threads)
    figures = {"threads": options.threads}
    try:
        connection = service.connection()
        for _ in range(5):
            assert ask(connection, photo)[0] == 200
        clients = options.threads + 2

        print("unloaded", file=sys.stderr)
        times, statuses, _ = closed_loop(service, photo, 1, options.phase_seconds)
        figures["unloaded"] = {**quantiles(times), "statuses": dict(statuses)}

        print("maximum", file=sys.stderr)
        times, statuses, took = closed_loop(service, photo, clients, options.phase_seconds)
        rate = statuses[200] / took
        figures["maximum"] = {"rate": round(rate, 2), **quantiles(times), "statuses": dict(statuses)}

        print("half", file=sys.stderr)
        times, statuses = open_loop(service, photo, rate / 2, 2 * options.phase_seconds)
        figures["half"] = {"rate": round(rate / 2, 2), **quantiles(times), "statuses": dict(statuses)}
        figures["half"]["p95_over_unloaded_p50"] = round(figures["half"]["p95_s"] / figures["unloaded"]["p50_s"], 2)

        print("sustained", file=sys.stderr)
        memory = [service.resident_bytes()]
        sampled = threading.Event()

        def sample():
            while not sampled.wait(max(1, options.seconds / 20)):
                memory.append(service.resident_bytes())

        sampler = threading.Thread(target=sample)
        sampler.start()
        times, statuses, took = closed_loop(service, photo, clients, options.seconds)
        sampled.set()
        sampler.join()
        memory.append(service.resident_bytes())
        figures["sustained"] = {
            "seconds": round(took, 1),
            "rate": round(statuses[200] / took, 2),
            **quantiles(times),
            "statuses": dict(statuses),
            "errors": sum(statuses.values()) - statuses[200],
            "resident_bytes": memory,
        }

        print("hostile", file=sys.stderr)
        before = ask(connection, photo)
        start = time.monotonic()
        statuses = hostile(service, photo, options.hostile)
        figures["hostile"] = {
            "requests": sum(statuses.values()),
            "seconds": round(time.monotonic() - start, 1),
            "statuses": {str(status): count for status, count in sorted(statuses.items(), key=str)},
            "answers_as_before": ask(service.connection(), photo) == before and before[0] == 200,
            "resident_bytes": service.resident_bytes(),
        }
    finally:
        figures["exit_code"] = service.end()
    print_service(figures)
    write(options.json, figures)


def print_service(figures):
    for name in ("unloaded", "maximum", "half", "sustained"):
        row = figures[name]
        rate = f"{row['rate']:6.1f} /s" if "rate" in row else " " * 9
        times = "   ".join(f"{what[:-2]} {1000 * row[what]:6.0f} ms" for what in ("p50_s", "p95_s", "longest_s"))
        told = ", ".join(f"{count:,} x {status}" for status, count in row["statuses"].items())
        print(f"{name:<10} {rate}   {times}   {told}")
    print(f"p95 at half the rate is {figures['half']['p95_over_unloaded_p50']:.2f} times the unloaded median")
    memory, last = figures["sustained"]["resident_bytes"], figures["hostile"]["resident_bytes"]
    if last is not None:
        mib = [f"{value / 2**20:.0f}" for value in (memory[0], memory[len(memory) // 2], memory[-1], last)]
        seconds = figures["sustained"]["seconds"]
        print(
            f"memory {mib[0]} MiB, in the middle of {seconds:.0f} s {mib[1]}, at their end {mib[2]}, at last {mib[3]}"
        )
    row = figures["hostile"]
    told = ", ".join(f"{count:,} x {status}" for status, count in row["statuses"].items())
    print(f"hostile    {row['requests']:,} in {row['seconds']:.0f} s: {told}")
    print(f"answers as before: {'yes' if row['answers_as_before'] else 'NO'}; exit code {figures['exit_code']}")


def write(json_file, figures):
    from jvcr.benchmark.machine import machine, versions
    from jvcr.files import write_json

    if json_file:
        head = {
            "command": " ".join(["python", "benchmarks/serve_load.py", *sys.argv[1:]]),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": machine(),
            "versions": versions(),
        }
        write_json(json_file, {**head, **figures})


def main():
    from jvcr.inference.session import available_cores

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photo", type=Path, default=EXAMPLES / "grace_hopper.jpg", metavar="FILE")
    parser.add_argument("--threads", type=int, default=available_cores(), help="of the service")
    parser.add_argument("--seconds", type=float, default=180, help="of the sustained load")
    parser.add_argument("--phase-seconds", type=float, default=20, help="of unloaded and maximum; half takes two")
    parser.add_argument("--hostile", type=int, default=1000, metavar="NUMBER", help="of hostile requests")
    parser.add_argument("--batching", action="store_true", help="compare threads with batches instead")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    options = parser.parse_args()
    photo = options.photo.read_bytes()
    if options.batching:
        measure_batching(photo, options.threads, options.json)
    else:
        measure_service(photo, options)


if __name__ == "__main__":
    main()
