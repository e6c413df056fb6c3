"""PyInstaller's hook: weights, schemes and the page are files, and commands are imported by their names."""

from PyInstaller.utils.hooks import collect_data_files, collect_submodules, copy_metadata

datas = collect_data_files("jvcr", excludes=["**/*.safetensors"]) + copy_metadata("jvcr")
hiddenimports = [*collect_submodules("jvcr.cli"), "jvcr.inference.landmarker", "jvcr.inference.tracker"]
