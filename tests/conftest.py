"""What all tests share: where the real data lies, quiet libraries, how hard hypothesis tries."""

import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

# Set before any test imports TensorFlow. The GPU is hidden unless asked for by its number.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "2")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")
# Models converted while testing are kept for the next time, but not among the user's.
os.environ["XDG_CACHE_HOME"] = str(Path(__file__).resolve().parents[1] / ".pytest_cache" / "home")

import hypothesis
import pytest

from tests.support import hardware

hardware.imitate()  # before any test imports OpenVINO

# A shell that starts the tests in the background has SIGINT ignored, and processes inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parents[1]
NO_SKIPS = os.environ.get("SEGBATCH_NO_SKIPS") == "1"

# Deadlines would measure the machine. In CI the examples are the same every time.
_REPEAT = os.environ.get("CI") == "true"
for _name, _examples in {"fast": 40, "default": 200, "deep": 3000}.items():
    hypothesis.settings.register_profile(
        _name, deadline=None, max_examples=_examples, derandomize=_REPEAT, print_blob=True
    )
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real data: ``SEGBATCH_DATA``, by default beside the project."""
    folder = Path(os.environ.get("SEGBATCH_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("no real data: set SEGBATCH_DATA")
    return folder


@pytest.hookimpl(tryfirst=True)  # before pytest itself looks for marks that skip
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what ``@pytest.mark.needs(...)`` more than there is; a report carries it as a property."""
    names = hardware.known(name for mark in item.iter_markers("needs") for name in mark.args)
    missing = next(filter(hardware.lacks, names), None)
    if missing is not None:
        item.user_properties.append(("lacks", missing))
        item.add_marker(pytest.mark.skip(reason=f"needs {missing}"), append=False)


def _lacking(report: pytest.TestReport | pytest.CollectReport) -> str | None:
    """What the machine lacks for a test that was skipped for want of it."""
    return dict(getattr(report, "user_properties", ())).get("lacks")


def _no_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Where everything that can be installed is, a skipped test silently stopped testing."""
    allowed = _lacking(report) is not None or hasattr(report, "wasxfail")
    if NO_SKIPS and report.skipped and not allowed:
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid} may not be skipped here: {report.longrepr}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    report = yield
    _no_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report():
    report = yield
    _no_skip(report)
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
    """What this machine lacked, and for how many tests: the last line before pytest's own."""
    yield
    counts = Counter(filter(None, map(_lacking, terminalreporter.getreports("skipped"))))
    if counts:
        told = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
        terminalreporter.write_line(f"skipped for want of: {told}")
