"""Rules for the tests themselves: every deadline scales with the machine."""

import ast

import pytest
from support.paths import TESTS

FOLDER = TESTS
MODULES = [path for path in sorted(FOLDER.rglob("*.py")) if "node_modules" not in path.parts]
#: Functions whose first argument is a deadline in seconds; `wait()` without an argument may wait for ever.
TIMED = {"fail_after", "move_on_after", "wait", "wait_for_publish", "communicate", "settimeout"}
#: Clocks that advance while other programs run, and all clocks.
WALL_CLOCKS = {"monotonic", "perf_counter", "current_time"}
CLOCKS = {*WALL_CLOCKS, "thread_time", "process_time"}
#: Functions of tests/support/patience.py that return a scaled deadline.
SCALED = {"patient", "brief"}


def _called(node):
    """The last part of the name of the function in a call."""
    return getattr(node.func, "attr", getattr(node.func, "id", "")) if isinstance(node, ast.Call) else ""


def scaled_names(trees):
    """Names that modules bind to `patient(…)` only."""
    bound = {}
    for tree in trees:
        for node in tree.body:
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    if isinstance(target, ast.Name):
                        bound.setdefault(target.id, []).append(_called(node.value) in SCALED)
    return {name for name, scaled in bound.items() if all(scaled)}


def plain_deadlines(tree, scaled):
    """The lines of a module with a deadline that does not scale with the machine."""
    lines = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Assert):
            lines += [bound.lineno for bound in _bounds_of_elapsed_time(node) if not _scales(bound, scaled)]
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add) and _called(node.left) in WALL_CLOCKS:
            lines += [node.lineno] if isinstance(node.right, ast.Constant) else []
        if not isinstance(node, ast.Call):
            continue
        deadlines = [keyword.value for keyword in node.keywords if keyword.arg in ("timeout", "open_timeout")]
        if _called(node) in TIMED:
            deadlines += node.args[:1]
        lines += [deadline.lineno for deadline in deadlines if not _scales(deadline, scaled)]
    return lines


def _scales(deadline, scaled):
    return _called(deadline) in SCALED or (isinstance(deadline, ast.Name) and deadline.id in scaled)


def _bounds_of_elapsed_time(assertion):
    """The upper bounds in an assertion on the difference of two readings of a clock."""
    for node in ast.walk(assertion):
        if isinstance(node, ast.Compare):
            values = [node.left, *node.comparators]
            for left, operator, right in zip(values, node.ops, values[1:], strict=False):
                smaller, larger = (left, right) if isinstance(operator, (ast.Lt, ast.LtE)) else (right, left)
                if isinstance(smaller, ast.BinOp) and _called(smaller.left) in CLOCKS:
                    yield larger


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("with trio.fail_after(10): pass", True),
        ("with trio.move_on_after(PLAIN): pass", True),
        ("with trio.fail_after(seconds): pass", True),
        ("with trio.fail_after(SCALED + 1): pass", True),
        ("process.wait(5)", True),
        ("subprocess.run(command, timeout=30)", True),
        ("lines.get(timeout=PLAIN)", True),
        ("assert time.monotonic() - began < 5", True),
        ("assert 1 <= trio.current_time() - began <= PLAIN", True),
        ("assert 5 > trio.current_time() - began", True),
        ("end = time.monotonic() + 5", True),
        ("with trio.fail_after(patient(10)): pass", False),
        ("with trio.fail_after(SCALED): pass", False),
        ("with trio.move_on_after(brief(0.1)): pass", False),
        ("process.wait(SCALED)", False),
        ("assert time.monotonic() - began < SCALED", False),
        ("assert time.monotonic() - began >= 5", False),
        ("end = time.monotonic() + SCALED", False),
        ("await event.wait()", False),
        ("lines.get()", False),
    ],
)
def test_deadline_that_does_not_scale_is_detected(text, plain):
    constants = ast.parse("SCALED = patient(10)\nPLAIN = 10")
    assert plain == bool(plain_deadlines(ast.parse(text), scaled_names([constants])))


def test_every_deadline_scales_with_the_machine():
    trees = {path: ast.parse(path.read_text()) for path in MODULES}
    scaled = scaled_names(trees.values())
    plain = [f"{path.relative_to(FOLDER)}:{line}" for path in trees for line in plain_deadlines(trees[path], scaled)]
    assert plain == [], "deadlines come from patient(…) or brief(…) in tests/support/patience.py"
