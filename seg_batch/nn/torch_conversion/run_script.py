"""Calls ``main`` of a script with its arguments, and prints the answer as JSON on the last line.

It runs in a Python with torch, which need not have segbatch: standard library alone.
"""

import contextlib
import json
import re
import runpy
import sys
import warnings


def answer(script: str, arguments: list[str]) -> dict:
    """What the script answers, or ``missing``, a library, or ``error``, a reason."""
    warnings.simplefilter("ignore")
    try:
        with contextlib.redirect_stdout(sys.stderr):
            return dict(runpy.run_path(script)["main"](arguments))
    except ModuleNotFoundError as error:
        return {"missing": error.name}
    except ValueError as error:
        return {"error": str(error)}
    except Exception as error:  # torch raises errors of many types
        lines = str(error).strip().splitlines() or [""]
        why = next((x for x in reversed(lines) if re.match(r"\s*[\w.]*Error:", x)), lines[0])
        return {"error": f"torch can't convert this model ({type(error).__name__}: {why[:300]})"}


if __name__ == "__main__":
    print("\n" + json.dumps(answer(sys.argv[1], sys.argv[2:])))
