"""Machine code that is kept on disk is that of the present sources."""

import shutil
import subprocess
import sys
from pathlib import Path

from nnunet_nacl.calibration import compiled

CALLED = """
from {package}.compiled import compiled
@compiled
def called(x):
    return {factor} * x
"""

CALLER = """
from {package}.compiled import compiled
from {package}.called import called
@compiled
def caller(x):
    return called(x)
"""


def test_a_change_in_the_file_of_a_called_function_compiles_again(tmp_path):
    """numba alone looks at the file of a function; kernels.py has the functions of mask_kernels.py in its machine code."""
    package = tmp_path / "kernels_of_a_test"
    package.mkdir()
    shutil.copy(compiled.__file__, package / "compiled.py")
    (package / "caller.py").write_text(CALLER.format(package=package.name))

    def result(factor):
        Path(package, "called.py").write_text(CALLED.format(package=package.name, factor=factor))
        program = f"from {package.name}.caller import caller; print(caller(1), sum(caller.stats.cache_hits.values()))"
        run = subprocess.run([sys.executable, "-B", "-c", program], cwd=tmp_path, capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
        return run.stdout.split()

    assert [result(2), result(2), result(3)] == [["2", "0"], ["2", "1"], ["3", "0"]]
