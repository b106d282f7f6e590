"""Small wrong changes of Python source, one at a time: what the tests of a module should notice.

Changed are comparisons and their boundaries, arithmetic, logic, numbers and truth values, the direction of numpy's
reductions, conditions, and calls that stand alone. Text, annotations, decorators and what an error says stay.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Sequence
from dataclasses import dataclass

_OPERATORS: dict[type[ast.AST], tuple[type[ast.AST], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Div,),
    ast.Div: (ast.Mult,),
    ast.FloorDiv: (ast.Mult,),
    ast.Mod: (ast.Mult,),
    ast.Pow: (ast.Mult,),
    ast.BitAnd: (ast.BitOr,),
    ast.BitOr: (ast.BitAnd,),
    ast.And: (ast.Or,),
    ast.Or: (ast.And,),
    ast.LShift: (ast.RShift,),
    ast.RShift: (ast.LShift,),
}
_PAIRS = (
    ("min", "max"),
    ("minimum", "maximum"),
    ("argmin", "argmax"),
    ("any", "all"),
    ("zeros", "ones"),
    ("floor", "ceil"),
    ("sum", "max"),
)
_NAMES = {**dict(_PAIRS), **{b: a for a, b in reversed(_PAIRS)}}


@dataclass(frozen=True)
class Mutant:
    """One change of a file.

    Attributes:
        line: number of the line where it is, from 1.
        start, stop: the bytes of the file that are replaced.
        before, after: what stood there, what stands there now.
        compiled: it is in a function that numba compiles, whose lines no tracer sees.
    """

    line: int
    start: int
    stop: int
    before: str
    after: str
    compiled: bool

    def applied(self, source: bytes) -> bytes:
        """Return the source with the change."""
        return source[: self.start] + self.after.encode() + source[self.stop :]


def mutants_of(source: bytes) -> list[Mutant]:
    """Return all changes of a module, in the order of its lines."""
    finder = _Finder(source)
    finder.visit(ast.parse(source))
    return sorted(finder.found, key=lambda mutant: (mutant.start, mutant.after))


class _Finder(ast.NodeVisitor):
    def __init__(self, source: bytes):
        self._source = source
        lines = source.splitlines(keepends=True)
        self._line_starts = [0]
        for line in lines:
            self._line_starts.append(self._line_starts[-1] + len(line))
        self._compiled = False
        self.found: list[Mutant] = []

    def _add(self, node: ast.expr | ast.stmt, text: str) -> None:
        if node.end_lineno is None or node.end_col_offset is None:
            raise ValueError(f"line {node.lineno} has no end")
        start = self._line_starts[node.lineno - 1] + node.col_offset
        stop = self._line_starts[node.end_lineno - 1] + node.end_col_offset
        before = self._source[start:stop].decode()
        self.found.append(Mutant(node.lineno, start, stop, before, text, self._compiled))

    def _replace(self, node: ast.expr, changed: ast.expr) -> None:
        self._add(node, f"({ast.unparse(changed)})")

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        outer = self._compiled
        names = [call.func for call in node.decorator_list if isinstance(call, ast.Call)]
        self._compiled |= any(isinstance(name, ast.Name) and name.id == "compiled" for name in names)
        self._visit_all([*node.args.defaults, *(value for value in node.args.kw_defaults if value), *node.body])
        self._compiled = outer

    def _visit_all(self, nodes: Sequence[ast.AST]) -> None:
        for node in nodes:
            self.visit(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._visit_all(node.body)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    def visit_Raise(self, node: ast.Raise) -> None:
        """Leave it: the words of an error are not what is measured."""

    def visit_keyword(self, node: ast.keyword) -> None:
        if node.arg not in ("strict", "stacklevel"):  # `zip(strict=True)` is a guard, as an error is
            self.visit(node.value)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        """Leave it, for the same reason."""

    def visit_Expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Call):
            self._add(node, "pass")
        self.generic_visit(node)

    def visit_If(self, node: ast.If) -> None:
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return
        self._negate(node.test)
        self.generic_visit(node)

    def visit_While(self, node: ast.While) -> None:
        self._negate(node.test)
        self.generic_visit(node)

    def _negate(self, test: ast.expr) -> None:
        """Negate a condition that has no operator to change."""
        if not isinstance(test, ast.Compare | ast.BoolOp | ast.UnaryOp | ast.Constant):
            self._replace(test, ast.UnaryOp(ast.Not(), test))

    def visit_Compare(self, node: ast.Compare) -> None:
        for place, operator in enumerate(node.ops):
            for other in _OPERATORS[type(operator)]:
                changed = copy.deepcopy(node)
                changed.ops[place] = other()
                self._replace(node, changed)
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        for other in _OPERATORS.get(type(node.op), ()):
            self._replace(node, ast.BinOp(node.left, other(), node.right))
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        for other in _OPERATORS.get(type(node.op), ()):
            self._replace(node, ast.BoolOp(other(), node.values))
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        self._replace(node, node.operand)
        if not isinstance(node.operand, ast.Constant):
            self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        for other in _OPERATORS.get(type(node.op), ()):
            self._add(node, ast.unparse(ast.AugAssign(node.target, other(), node.value)))
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, bool):
            self._replace(node, ast.Constant(not node.value))
        elif isinstance(node.value, int | float):
            self._replace(node, ast.Constant(node.value + 1))

    def visit_Call(self, node: ast.Call) -> None:
        function = node.func
        name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
        if name in _NAMES:
            changed = copy.deepcopy(node)
            if isinstance(changed.func, ast.Attribute):
                changed.func.attr = _NAMES[name]
            else:
                changed.func = ast.Name(_NAMES[name])
            self._replace(node, changed)
        self.generic_visit(node)
