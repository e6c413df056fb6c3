"""The processes of a training: who starts them, how many there are, and where they compute.

One process is one GPU, or a share of a machine's cores. They are started by ``jvcr train --devices N`` itself, on one
machine, or from outside on any number: by torchrun or by SLURM's srun, which then say how many there are.
"""

from __future__ import annotations

import contextlib
import ctypes
import inspect
import logging
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning_fabric.plugins.precision import MixedPrecision
from lightning_fabric.strategies.ddp import DDPStrategy
from torch.nn.parallel import DistributedDataParallel

Launcher = Literal["jvcr", "torchrun", "srun"]

Accelerator = Literal["auto", "cpu", "cuda", "mps"]


@dataclass(frozen=True)
class Processes:
    """How a training's processes are laid out."""

    devices: int = 1  # processes on each machine
    nodes: int = 1  # machines
    launcher: Launcher = "jvcr"
    accelerator: Accelerator = "auto"  # what computes; "auto" is the GPU, or Apple's, where there is one

    @property
    def total(self) -> int:
        """Processes on all machines."""
        return self.devices * self.nodes

    @property
    def device(self) -> str:
        """The kind of device that computes, by torch's name."""
        return _accelerators()[0] if self.accelerator == "auto" else self.accelerator

    @classmethod
    def find(
        cls,
        environment: Mapping[str, str],
        devices: int | None = None,
        nodes: int | None = None,
        accelerator: Accelerator = "auto",
    ) -> Processes:
        """What torchrun or srun have set up, if one of them has started this process, else what is asked for.

        Args:
            environment: this process's variables.
            devices: processes on each machine; None for what was set up, 1 if nothing was.
            nodes: machines; None likewise.
            accelerator: what computes.

        Raises:
            ValueError: less than one of either, not what was set up, or several machines and nobody to start the
                processes on the others.
        """
        for name, value in (("devices", devices), ("nodes", nodes)):
            if value is not None and value < 1:
                raise ValueError(f"--{name} must be at least 1, got {value}")
        launcher: Launcher
        if "TORCHELASTIC_RUN_ID" in environment:
            launcher, total, each = "torchrun", int(environment["WORLD_SIZE"]), int(environment["LOCAL_WORLD_SIZE"])
        elif int(environment.get("SLURM_STEP_NUM_TASKS", "1")) > 1 and "SLURM_PROCID" in environment:
            launcher, total = "srun", int(environment["SLURM_STEP_NUM_TASKS"])
            if "SLURM_NTASKS_PER_NODE" not in environment:
                raise ValueError(
                    f"srun has started {total} tasks without saying how many on each machine: give it --ntasks-per-node"
                )
            each = int(environment["SLURM_NTASKS_PER_NODE"])
        else:
            if (nodes or 1) > 1 and not {"MASTER_ADDR", "MASTER_PORT", "NODE_RANK"} <= environment.keys():
                raise ValueError(
                    f"--nodes {nodes} needs jvcr to be started on every machine: do so with torchrun or srun, or by "
                    f"hand with MASTER_ADDR, MASTER_PORT and NODE_RANK set"
                )
            return cls(devices or 1, nodes or 1, accelerator=accelerator)
        found = cls(each, max(1, total // each), launcher, accelerator)
        if found.total != total:
            raise ValueError(f"{launcher} has started {total} processes, which are not {each} on each machine")
        if (devices or found.devices, nodes or found.nodes) != (found.devices, found.nodes):
            raise ValueError(
                f"--devices {devices or found.devices} --nodes {nodes or found.nodes}, but {launcher} has started "
                f"{found.devices} processes on each of {found.nodes} machines: leave these options to {launcher}"
            )
        return found

    def threads(self, cores: int, environment: Mapping[str, str]) -> int:
        """Processor threads for each process, so that all processes of a machine together have one a core.

        srun gives each task cores of its own if it is told --cpus-per-task.
        """
        if self.launcher == "srun" and "SLURM_CPUS_PER_TASK" in environment:
            return min(cores, int(environment["SLURM_CPUS_PER_TASK"]))
        return max(1, cores // self.devices)

    def check_batch(self, batch_size: int) -> None:
        """Raises ValueError unless all processes can get equal parts: means over others would not be the batch's."""
        if batch_size % self.total:
            near = max(1, round(batch_size / self.total)) * self.total
            raise ValueError(
                f"batch_size is {batch_size}, which {self.total} processes cannot share equally: choose a multiple of "
                f"{self.total}, as --set batch_size={near}, or another number of processes"
            )

    def fabric(self, precision: str) -> Fabric:
        """Where a training runs; its ``launch()`` starts the other processes, or joins those that have been started.

        Raises:
            ValueError: there is no such accelerator, or there are fewer GPUs than processes.
        """
        gpus = torch.cuda.device_count() if self.device == "cuda" else 0
        if self.accelerator != "auto" and self.accelerator not in (there := _accelerators()):
            raise ValueError(f"there is no {self.accelerator} here that torch knows, but {', '.join(there)}")
        if gpus and self.devices > gpus:
            raise ValueError(
                f"{self.devices} processes need as many GPUs, this machine has {gpus}: ask for fewer (--devices), or "
                f"compute on the processor (--accelerator cpu)"
            )
        arithmetic: dict[str, Any] = {"precision": precision, "plugins": []}
        if precision in ("bf16-mixed", "16-mixed"):
            arithmetic = {"plugins": [ExactLabels(precision, self.device)]}  # type: ignore[arg-type]
        if self.total == 1:
            return Fabric(accelerator=self.device, devices=1, **arithmetic)
        environments: dict[Launcher, type[ClusterEnvironment]] = {
            "jvcr": LightningEnvironment,
            "torchrun": TorchElasticEnvironment,
            "srun": SLURMEnvironment,
        }
        logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
        # Buffers, the batch norms' statistics, are the same everywhere or averaged when they are used: none need to be
        # sent at each step. Newer versions of torch have another name for that.
        known = inspect.signature(DistributedDataParallel).parameters
        sending = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
        options: dict[str, Any] = {sending: False}
        strategy = DDPStrategy(**options)
        arithmetic["plugins"].append(environments[self.launcher]())
        where: dict[str, Any] = {"accelerator": self.device, "devices": self.devices, "num_nodes": self.nodes}
        return Fabric(strategy=strategy, **where, **arithmetic)


class ExactLabels(MixedPrecision):
    """Mixed precision that leaves what goes into the loss as it is.

    Fabric rounds all inputs to the half type, labels too: in bfloat16 that is up to an eighth of a pixel of a 128-pixel
    crop. Convolutions take their half type from autocast all the same.
    """

    def convert_input(self, data: Any) -> Any:
        """The very ``data``."""
        return data


def _accelerators() -> list[str]:
    """What torch can compute on here, the quickest first."""
    gpu = ["cuda"] if torch.cuda.is_available() else []
    return [*gpu, *(["mps"] if torch.backends.mps.is_available() else []), "cpu"]


def precision(name: str, device: str = "") -> str:
    """Fabric's name for "auto" on a kind of device, by default the quickest that there is.

    bfloat16 where it computes in it, float16 on GPUs that do not, else float32.
    """
    device = device or _accelerators()[0]
    if name != "auto":
        return name
    if device == "cuda":  # older ones imitate bfloat16, slowly
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "16-mixed"
    if device != "cpu":
        return "32-true"
    native = (
        getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
        or getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)()
    )
    return "bf16-mixed" if native else "32-true"


def keep_freed_memory() -> None:
    """Tells glibc's malloc to keep what a step frees for the next one, instead of handing it back to the system.

    A step on the CPU takes and frees the same gigabyte of activations; getting it anew costs tens of thousands of page
    faults a second. On other systems this does nothing.
    """
    if not sys.platform.startswith("linux"):
        return
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in ((-4, 0), (-1, 2**31 - 1), (-2, 256 << 20)):  # M_MMAP_MAX, M_TRIM_THRESHOLD, M_TOP_PAD
            mallopt(option, value)
