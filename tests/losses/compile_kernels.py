"""Compile the Triton kernels for a card that need not be there, and print what each takes of it, one JSON object a line.

python tests/losses/compile_kernels.py [compute capability, 90 by default]
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from nnunet_nacl.losses import triton_kernels

TOOLS = Path(triton.__file__).parent / "backends/nvidia/bin"
VOXELS, WARPS = 128, 2  # of triton_loss, which would import PyTorch
FLOATS = {"weights", "of_voxels", "of_classes", "grad_output", "counted", "of_class", "of_label", "of_bin"}
WINDOW = {"SZ": 3, "SY": 3, "SX": 3, "BOX": True}
NO_WINDOW = {"SZ": 1, "SY": 1, "SX": 1, "BOX": True}
VARIANTS = [
    # Triton makes a constant of each argument that is 1, but of sizes: `bins` without mL1-ACE
    {"TERM": 1, "IGNORE": False, "SUMS": False, "BINS": False, "bins": 1} | WINDOW,
    {"TERM": 1, "IGNORE": True, "SUMS": True, "BINS": False, "bins": 1, "ignore": 1} | WINDOW | {"SZ": 1},
    {"TERM": 2, "IGNORE": True, "SUMS": True, "BINS": False, "bins": 1} | WINDOW | {"BOX": False},
    {"TERM": 3, "IGNORE": False, "SUMS": True, "BINS": False, "bins": 1} | WINDOW | {"BOX": False},
    {"TERM": 0, "IGNORE": True, "SUMS": True, "BINS": True} | NO_WINDOW,
    # one class
    {"TERM": 0, "IGNORE": False, "SUMS": True, "BINS": True, "classes": 1} | NO_WINDOW,
]


def compiled(kernel, constants, capability, logits="fp16", target="i16"):
    types = dict.fromkeys(kernel.arg_names, "i32")
    types |= {name: "*fp32" for name in FLOATS & set(types)} | {
        "logits": f"*{logits}",
        "target": f"*{target}",
        "factor": "fp32",
    }
    types |= {name: kind for name, kind in {"middle_bins": "*i64", "gradient": f"*{logits}"}.items() if name in types}
    types |= dict.fromkeys(constants, "constexpr")
    places = {name: (index,) for index, name in enumerate(kernel.arg_names)}
    # what Triton finds in the arguments of a usual patch: aligned tensors, a multiple of 16 voxels
    aligned = [name for name, kind in types.items() if kind.startswith("*") or name == "voxels"]
    source = ASTSource(
        kernel,
        {name: types[name] for name in kernel.arg_names},
        {places[name]: value for name, value in constants.items()},
        {places[name]: [["tt.divisibility", 16]] for name in aligned},
    )
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options={"num_warps": WARPS})


def output(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def main():
    capability = int(sys.argv[1]) if len(sys.argv) > 1 else 90
    for kernel in (triton_kernels.sum_up, triton_kernels.write_gradient):
        unknown = [parameter.name for parameter in kernel.params if parameter.do_not_specialize]
        assert unknown == triton_kernels.SIZES, unknown
        for variant in VARIANTS:
            constants = variant | {"BLOCK": VOXELS}
            result = compiled(kernel, constants, capability)
            with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
                file.write(result.asm["cubin"])
                file.flush()
                used = output(TOOLS / "cuobjdump", "--dump-resource-usage", file.name).splitlines()[-1].strip()
                instructions = re.findall(
                    r"/\*[0-9a-f]{4,}\*/ +(?:@\S+ +)?([A-Z]\w+)", output(TOOLS / "nvdisasm", "-c", file.name)
                )
            found = {"kernel": kernel.__name__, **constants, "resources": used, "shared": result.metadata.shared}
            spills = sum(name in ("LDL", "STL") for name in instructions)
            print(json.dumps(found | {"instructions": len(instructions), "spills": spills}), flush=True)


if __name__ == "__main__":
    main()
