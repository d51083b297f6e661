"""Small wrong changes to a Python module, one at a time: what ``bench.mutants`` asks the tests to notice.

Rules of this file
- A mutant is named by what stays when lines move: the function, the normalised text of its line, and the change. So an
  explanation of a survivor holds until the line itself is rewritten.
- Changed are comparisons, arithmetic, ``and`` and ``or``, ``not``, conditions, numbers by one, booleans, members of
  enums, codes of errors, returned values, keywords of ``replace`` and its like; removed are statements and the
  elements of tables. Not changed: texts of messages, docstrings, annotations, what only mypy is there for (frozen,
  slots), the arguments of our own alarms (``InvariantViolation``).
- Module-level data counts as much as functions: the claim table is data.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from enum import EnumMeta
from typing import Any, Final

EDITS: Final = 2
"""Raise it when an edit changes something else under the same name: what is known of all mutants is then forgotten."""
Edit = tuple[ast.AST, str, Any, str, ast.AST]
"""(node to change, its field, the field's new value, the change in words, the node whose line names it)."""

_ORDER: Final[dict[type[ast.cmpop], tuple[tuple[type[ast.cmpop], str], ...]]] = {
    ast.Lt: ((ast.LtE, "< to <="), (ast.GtE, "< to >=")),
    ast.LtE: ((ast.Lt, "<= to <"), (ast.Gt, "<= to >")),
    ast.Gt: ((ast.GtE, "> to >="), (ast.LtE, "> to <=")),
    ast.GtE: ((ast.Gt, ">= to >"), (ast.Lt, ">= to <")),
    ast.Eq: ((ast.NotEq, "== to !="),),
    ast.NotEq: ((ast.Eq, "!= to =="),),
    ast.In: ((ast.NotIn, "in to not in"),),
    ast.NotIn: ((ast.In, "not in to in"),),
    ast.Is: ((ast.IsNot, "is to is not"),),
    ast.IsNot: ((ast.Is, "is not to is"),),
}
_ARITHMETIC: Final[dict[type[ast.operator], tuple[type[ast.operator], str]]] = {
    ast.Add: (ast.Sub, "+ to -"),
    ast.Sub: (ast.Add, "- to +"),
    ast.Mult: (ast.FloorDiv, "* to //"),
    ast.FloorDiv: (ast.Mult, "// to *"),
    ast.Mod: (ast.FloorDiv, "% to //"),
    ast.Pow: (ast.Mult, "** to *"),
    ast.LShift: (ast.RShift, "<< to >>"),
    ast.RShift: (ast.LShift, ">> to <<"),
    ast.BitAnd: (ast.BitOr, "& to |"),
    ast.BitOr: (ast.BitAnd, "| to &"),
}
_WITH_KEYWORDS: Final = frozenset({"replace", "move", "stay"})
"""Calls whose keywords are changes to a row: each is left out once."""
_ALARMS: Final = frozenset({"InvariantViolation", "MissingRow"})
_FUNCTIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True, slots=True)
class Mutant:
    """One small wrong change."""

    path: str
    scope: str
    """Qualified name of the outermost function; ``class X`` for code in a class's body, ``def f`` for the defaults and
    decorators of a function, empty for the module's own data."""
    line: str
    """The source line, blanks squeezed."""
    change: str
    nth: int
    """Among those of equal path, scope, line and change."""
    at: int
    """Its place in the order of ``edits``: for this text of the module only."""
    line_number: int

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What an explanation names."""
        return self.path, self.scope, self.line, self.change


def mutants(path: str, source: str, names: dict[str, Any]) -> list[Mutant]:
    """Every mutant of a module's text; ``names`` is its namespace, of which the enums are used."""
    lines = source.splitlines()
    found: list[Mutant] = []
    seen: dict[tuple[str, str, str], int] = {}
    for at, (scope, (_, _, _, change, anchor)) in enumerate(edits(ast.parse(source), names)):
        number = getattr(anchor, "lineno", 1)
        line = " ".join(lines[number - 1].split())
        nth = seen.get((scope, line, change), 0)
        seen[scope, line, change] = nth + 1
        found.append(Mutant(path, scope, line, change, nth, at, number))
    return found


def mutated(source: str, names: dict[str, Any], at: int) -> ast.Module:
    """The module's tree with the edit number ``at`` made."""
    tree = ast.parse(source)
    for number, (_, (node, field, value, _, _)) in enumerate(edits(tree, names)):
        if number == at:
            setattr(node, field, value)
            return ast.fix_missing_locations(tree)
    raise IndexError(at)


def edits(tree: ast.Module, names: dict[str, Any]) -> Iterator[tuple[str, Edit]]:
    """(scope, edit) for every mutant, in the order of the text. The tree is not changed while this runs."""
    return _walk(tree, "", "", names)


def _walk(node: ast.AST, prefix: str, scope: str, names: dict[str, Any]) -> Iterator[tuple[str, Edit]]:
    for edit in _edits_of(node, names, top=not scope or scope.startswith("class ")):
        yield scope, edit
    for field, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) else (value,):
            if not isinstance(child, ast.AST) or _left_alone(node, field, child):
                continue
            outside = not scope or scope.startswith("class ")
            if isinstance(child, ast.ClassDef):
                inner = f"class {prefix}{child.name}" if outside else scope
                yield from _walk(child, f"{prefix}{child.name}.", inner, names)
            elif isinstance(child, _FUNCTIONS) and outside:
                yield from _function(child, prefix, names)
            else:
                yield from _walk(child, prefix, scope, names)


def _function(node: ast.FunctionDef | ast.AsyncFunctionDef, prefix: str, names: dict[str, Any]) -> Iterator[Any]:
    """Defaults belong to the module, the body to the function."""
    outside = f"def {prefix}{node.name}"
    for edit in _edits_of(node.args, names, top=False):
        yield outside, edit
    for outer in (*node.args.defaults, *(default for default in node.args.kw_defaults if default is not None)):
        yield from _walk(outer, prefix, outside, names)
    scope = prefix + node.name
    for edit in _edits_of(node, names, top=False):
        yield scope, edit
    for child in node.body:
        if not _is_text(child):
            yield from _walk(child, prefix, scope, names)


def _left_alone(node: ast.AST, field: str, child: ast.AST) -> bool:
    """Annotations, docstrings, messages, what an alarm says, ``__all__``."""
    if field in ("annotation", "returns", "decorator_list", "bases"):
        return True
    if isinstance(node, ast.keyword) and node.arg in ("frozen", "slots", "tag"):
        return True
    if isinstance(child, ast.JoinedStr | ast.Import | ast.ImportFrom) or _is_text(child):
        return True
    if isinstance(child, ast.Assign) and isinstance(child.targets[0], ast.Name) and child.targets[0].id == "__all__":
        return True
    return isinstance(child, ast.Call) and isinstance(child.func, ast.Name) and child.func.id in _ALARMS


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _edits_of(node: ast.AST, names: dict[str, Any], *, top: bool) -> Iterator[Edit]:
    """The edits of one node: of itself, of its expressions, of its statements."""
    yield from _operators(node)
    yield from _removals(node, top)
    for field, value in ast.iter_fields(node):
        if isinstance(value, ast.expr) and not _left_alone(node, field, value):
            for change, fresh in _instead(value, names):
                yield node, field, fresh, change, value
        elif isinstance(value, list):
            for at, child in enumerate(value):
                if isinstance(child, ast.expr) and not _left_alone(node, field, child):
                    for change, fresh in _instead(child, names):
                        yield node, field, [*value[:at], fresh, *value[at + 1 :]], change, child
                elif isinstance(child, ast.stmt) and not top and not _is_text(child):
                    for change, gone in _removed(child):
                        yield node, field, [*value[:at], gone, *value[at + 1 :]], change, child


def _operators(node: ast.AST) -> Iterator[Edit]:
    if isinstance(node, ast.Compare):
        for at, operator in enumerate(node.ops):
            for fresh, change in _ORDER[type(operator)]:
                yield node, "ops", [*node.ops[:at], fresh(), *node.ops[at + 1 :]], change, node
    elif isinstance(node, ast.BinOp | ast.AugAssign) and type(node.op) in _ARITHMETIC:
        other, change = _ARITHMETIC[type(node.op)]
        yield node, "op", other(), change, node
    elif isinstance(node, ast.BoolOp):
        both = isinstance(node.op, ast.And)
        yield node, "op", ast.Or() if both else ast.And(), "and to or" if both else "or to and", node
    elif isinstance(node, ast.comprehension) and node.ifs:
        yield node, "ifs", [], "filter removed", node.ifs[0]
    if isinstance(node, ast.If | ast.While | ast.IfExp) and not isinstance(node.test, ast.Compare | ast.UnaryOp):
        yield node, "test", ast.UnaryOp(ast.Not(), node.test), "condition negated", node.test


def _removals(node: ast.AST, top: bool) -> Iterator[Edit]:
    """Elements of module-level tables, keywords of changes to rows."""
    if isinstance(node, ast.Tuple | ast.List | ast.Set) and top:
        for at, element in enumerate(node.elts):
            if not isinstance(element, ast.Constant):
                yield node, "elts", node.elts[:at] + node.elts[at + 1 :], "element removed", element
    elif isinstance(node, ast.Call) and _called(node) in _WITH_KEYWORDS:
        for at, keyword in enumerate(node.keywords):
            if keyword.arg is not None:
                rest = node.keywords[:at] + node.keywords[at + 1 :]
                yield node, "keywords", rest, f"without {keyword.arg}", keyword.value


def _called(node: ast.Call) -> str:
    return node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")


def _removed(statement: ast.stmt) -> Iterator[tuple[str, ast.stmt]]:
    gone = ast.copy_location(ast.Pass(), statement)
    if isinstance(statement, ast.Expr | ast.Assign | ast.AugAssign | ast.Raise | ast.Continue | ast.Break):
        yield f"{type(statement).__name__.lower()} removed", gone
    elif isinstance(statement, ast.Return) and statement.value is not None and not _none(statement.value):
        yield "None returned", ast.copy_location(ast.Return(ast.Constant(None)), statement)
    elif isinstance(statement, ast.Return):
        yield "return removed", gone


def _none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _instead(node: ast.expr, names: dict[str, Any]) -> Iterator[tuple[str, ast.expr]]:
    """Other expressions in place of one."""
    if isinstance(node, ast.Constant):
        for value in _other_values(node.value):
            yield f"{node.value!r} to {value!r}", ast.copy_location(ast.Constant(value), node)
    elif isinstance(node, ast.Dict):
        for at, key in enumerate(node.keys):
            rest = ast.Dict(node.keys[:at] + node.keys[at + 1 :], node.values[:at] + node.values[at + 1 :])
            if key is not None:
                yield f"entry {ast.unparse(key)} removed", ast.copy_location(rest, node)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub):
        yield "not removed" if isinstance(node.op, ast.Not) else "minus removed", node.operand
    elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        known = names.get(node.value.id)
        if isinstance(known, EnumMeta) and node.attr in known.__members__:
            members = list(known.__members__)
            other = members[(members.index(node.attr) + 1) % len(members)]
            if other != node.attr:
                yield f"{node.attr} to {other}", ast.copy_location(ast.Attribute(node.value, other, node.ctx), node)


def _other_values(value: object) -> tuple[int | str | bytes, ...]:
    if isinstance(value, bool):
        return (not value,)
    if isinstance(value, int):
        return value + 1, value - 1
    if isinstance(value, str) and value.isupper() and len(value) > 3:
        return (value + "_ALTERED",)
    if isinstance(value, bytes) and value:
        return (value + b"_",)
    return ()
