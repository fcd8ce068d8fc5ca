"""Writes all policies of a release as one Python function from a request to masks.

The function reads each request value once into a local, tests that it is there and of its type, and then runs
through the policies. A policy whose values are not all there, or whose fast path raises, is judged again by the
exact plan: the fast path has to be right only when everything is in order.
"""

import math
import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import msgspec

from opportune.core.expressions import EvaluationError
from opportune.core.expressions.evaluate import fold_constants
from opportune.core.expressions.generate import CLASSES, Writer, identifier, prepare, unfit
from opportune.core.expressions.nodes import Const, Name, Node, free_names, walk
from opportune.core.expressions.values import INT_MAX, INT_MIN, take

from .documents import HARD_CLASSES, Policy
from .plan import Both, Cause, Choice, Fixed, Group, Groups, Guard, Index, Not, Plan, because

UNROLLED_MAX = 24
LITERAL_BITS_MAX = 64
MADE_UP = re.compile(r"(?:[thwx]\d+|ok_|EVERY\Z)")
OWN_NAMES = ("request", "channel", "at_ms", "within", "weighed", "failed", "levers", "get", "true", "value", "mask")


class Rule(msgspec.Struct, frozen=True):
    """One policy ready to be written: its condition's plan, its lever, and when it is valid.

    lever_of: place of a candidate -> number of its group, where there are too many groups to try them all.
    """

    policy: Policy
    plan: Plan
    reads: frozenset[str]
    lever: Node | None = None
    lever_groups: tuple[Group, ...] = ()
    lever_of: tuple[int, ...] = ()
    from_ms: int | None = None
    to_ms: int | None = None


class Text(msgspec.Struct, frozen=True):
    """A part as Python: where it is true, and where it fails for reasons known beforehand (None: nowhere)."""

    true: str
    failed: str | None = None


class Program:
    """Collects the function's lines. kinds, types: variable -> its kind and type; channels: ids in the table."""

    def __init__(
        self, kinds: Mapping[str, str], types: Mapping[str, str], channels: Sequence[str], every: int
    ) -> None:
        self.kinds = kinds
        self.types = types
        self.channels = channels
        self.every = every
        self.lines: list[str] = []
        self.indent = 1
        self.temporaries = 0
        self.locals = self.named()
        self.writer = Writer(self.locals)
        self.namespace = self.writer.namespace
        self.namespace.update(_left=bisect_left, _right=bisect_right, _none={}, _finite=math.isfinite)

    def named(self) -> dict[str, str]:
        """Return variable -> a local that clashes with no other and with nothing the program makes up."""
        locals_: dict[str, str] = {}
        taken = list(OWN_NAMES)
        for name in sorted(self.kinds, key=lambda name: self.kinds[name] != "channel"):
            local = identifier(name, taken)
            if MADE_UP.match(local):
                local = identifier(f"v_{name}", taken)
            locals_[name] = local
            taken += [local, *(f"{local}_{place}" for place in range(len(self.channels)))]
        return locals_

    def line(self, text: str) -> None:
        self.lines.append("    " * self.indent + text)

    def mask(self, mask: int) -> str:
        """Return a mask as a literal, or by name when it is long."""
        if mask == self.every:
            return "EVERY"
        if mask.bit_length() <= LITERAL_BITS_MAX:
            return hex(mask)
        return self.writer.refer("_mask", mask)

    # --- values in -----------------------------------------------------------------------------------------------

    def read_values(self, request_names: Sequence[str], channel_names: Sequence[str]) -> None:
        if request_names:
            self.line("get = request.get")
        for name in request_names:
            local = self.locals[name]
            self.line(f"{local} = get({name!r})")
            self.fit(self.types[name], local, f"ok_{local}")
        for name in channel_names:
            local = self.locals[name]
            self.line(f"get = channel.get({name!r}, _none).get")
            for place, channel in enumerate(self.channels):
                self.line(f"{local}_{place} = get({channel!r})")
                self.fit(self.types[name], f"{local}_{place}", f"ok_{local}_{place}")
            self.line(f"ok_{local} = " + " and ".join(f"ok_{local}_{place}" for place in range(len(self.channels))))

    def fit(self, type_: str, local: str, ok: str) -> None:
        """Write the test that a value is there and fit, and what makes it ready."""
        if type_ == "double":
            self.line(f"{ok} = {local}.__class__ is float")
            self.line(f"if not {ok} and {local}.__class__ is int and {INT_MIN} <= {local} <= {INT_MAX}:")
            self.line(f"    {local} = float({local}); {ok} = True")
        elif type_ in CLASSES:
            test = unfit(type_, local)
            plain = f"{local}.__class__ is not {CLASSES[type_]}"
            self.line(f"{ok} = not ({test})" if test != plain else f"{ok} = {plain.replace('is not', 'is')}")
            if ready := prepare(type_, local):
                self.line(f"if {ok}: {ready}")
        else:
            self.line(f"{ok} = {local} is not None")
            self.line(f"if {ok}:")
            self.line("    try:")
            self.line(f"        {prepare(type_, local)}")
            self.line("    except EvaluationError:")
            self.line(f"        {ok} = False")

    # --- one policy ----------------------------------------------------------------------------------------------

    def rule(self, number: int, rule: Rule) -> None:
        """Write one policy: its hits into h<number>, its failures and levers into the lists."""
        policy = rule.policy
        self.line(f"# {policy.class_} {policy.effect} `{policy.id}`: {' '.join(policy.when.split())}")
        bounds = [f"at_ms >= {rule.from_ms}"] if rule.from_ms is not None else []
        bounds += [f"at_ms < {rule.to_ms}"] if rule.to_ms is not None else []
        if bounds:
            self.line(f"h{number} = 0")
            self.line(f"if {' and '.join(bounds)}:")
            self.indent += 1
        if isinstance(rule.plan, Fixed) and not rule.plan.masks.failed:
            self.line(f"h{number} = {self.mask(rule.plan.masks.true)} & within")
        else:
            self.condition(number, rule)
        self.indent -= bool(bounds)

    def condition(self, number: int, rule: Rule) -> None:
        slow = f"h{number} = _slow({number}, request, channel, within, failed)"
        tests = [f"ok_{self.locals[name]}" for name in sorted(needed(rule.plan)) if self.kinds[name] != "candidate"]
        if tests:
            self.line(f"if {' and '.join(tests)}:")
            self.indent += 1
        self.line("try:")
        self.indent += 1
        text = self.part(rule.plan)
        self.line(f"h{number} = {text.true} & within")
        if text.failed:
            causes = self.writer.refer("_causes", tuple(fixed_causes(rule.plan)))
            self.line(f"value = {text.failed} & within")
            self.line(f"if value: failed.append(({number}, value, _because({causes}, value)))")
        self.indent -= 1
        self.line("except Exception:")
        self.line(f"    {slow}")
        if tests:
            self.indent -= 1
            self.line("else:")
            self.line(f"    {slow}")

    def lever(self, number: int, rule: Rule, node: Node) -> None:
        """Write what an adjust policy adds, once per distinct look of the candidates it hits and that are weighed.

        A failing lever of law or consent forbids: those are worked out for all it hits.
        """
        hard = rule.policy.class_ in HARD_CLASSES
        self.line(f"w{number} = h{number}" if hard else f"w{number} = h{number} & weighed")
        slow = f"_slow_lever({number}, request, channel, w{number}, failed, levers)"
        names = sorted(n for n in names_read(node) if self.kinds[n] != "candidate")
        tests = "".join(f" and ok_{self.locals[name]}" for name in names)
        if len(rule.lever_groups) > UNROLLED_MAX:
            self.line(f"if w{number}: {slow}")
            return
        self.line(f"if w{number}{tests}:")
        self.line("    try:")
        self.indent += 2
        self.line("value = []")
        for group in rule.lever_groups:
            self.line(
                f"if (mask := w{number} & {self.mask(group.mask)}): "
                f"value.append(({number}, mask, {self.value(node, group)}))"
            )
        self.line("if not all(_finite(one[2]) for one in value): raise EvaluationError")
        self.line("levers += value")
        self.indent -= 2
        self.line("    except Exception:")
        self.line(f"        {slow}")
        if tests:
            self.line(f"elif w{number}: {slow}")

    # --- the parts of a condition --------------------------------------------------------------------------------

    def part(self, plan: Plan) -> Text:
        match plan:
            case Fixed():
                failed = plan.masks.failed
                return Text(self.mask(plan.masks.true), self.mask(failed) if failed else None)
            case Guard():
                return Text(f"(EVERY if {self.writer.truth(plan.node)} else 0)")
            case Groups():
                return self.groups(plan)
            case Index():
                failed = plan.unknown.failed
                return Text(self.index(plan), self.mask(failed) if failed else None)
            case Not():
                part = self.part(plan.part)
                return Text(f"(EVERY ^ {part.true})") if not part.failed else self.negated(part)
            case Both():
                return self.both(plan)
        return self.choice(plan)

    def keep(self, text: str) -> str:
        """Put a value into a local and return its name."""
        self.temporaries += 1
        self.line(f"t{self.temporaries} = {text}")
        return f"t{self.temporaries}"

    def negated(self, part: Text) -> Text:
        true, failed = self.keep(part.true), self.keep(str(part.failed))
        return Text(f"(EVERY ^ ({true} | {failed}))", failed)

    def both(self, plan: Both) -> Text:
        sign, word = ("|", "or") if plan.decisive else ("&", "and")
        guards = [part.node for part in plan.parts if isinstance(part, Guard)]
        parts = [self.part(part) for part in plan.parts if not isinstance(part, Guard)]
        condition = f" {word} ".join(self.writer.truth(guard) for guard in guards)
        if any(part.failed for part in parts):
            if condition:
                parts.append(Text(f"(EVERY if {condition} else 0)"))
            return self.absorbed(parts, plan.decisive)
        joined = "(" + f" {sign} ".join(part.true for part in parts) + ")"
        if not condition:
            return Text(joined)
        if not parts:
            return Text(f"(EVERY if {condition} else 0)")
        return Text(
            f"(EVERY if {condition} else {joined})" if plan.decisive else f"({joined} if {condition} else 0)"
        )

    def absorbed(self, parts: Sequence[Text], decisive: bool) -> Text:
        """Join parts of which some fail for some candidates: where one part decides, failures do not count."""
        true, failed = self.keep(parts[0].true), self.keep(parts[0].failed or "0")
        for part in parts[1:]:
            other, lost = self.keep(part.true), self.keep(part.failed or "0")
            if decisive:
                both = self.keep(f"{true} | {other}")
                failed = self.keep(f"({failed} | {lost}) & ~{both}")
            else:
                both = self.keep(f"{true} & {other}")
                failed = self.keep(f"({failed} & ({other} | {lost})) | ({lost} & ({true} | {failed}))")
            true = both
        return Text(true, failed)

    def choice(self, plan: Choice) -> Text:
        condition, then, otherwise = self.part(plan.condition), self.part(plan.then), self.part(plan.otherwise)
        yes, lost = self.keep(condition.true), self.keep(condition.failed or "0")
        no = self.keep(f"EVERY ^ ({yes} | {lost})")
        true = f"({yes} & {then.true} | {no} & {otherwise.true})"
        if not (condition.failed or then.failed or otherwise.failed):
            return Text(true)
        kept = self.keep(true)
        return Text(kept, self.keep(f"{lost} | {yes} & {then.failed or '0'} | {no} & {otherwise.failed or '0'}"))

    def groups(self, plan: Groups) -> Text:
        """Write the part once per group with its values put in; many groups share a loop over one function."""
        if len(plan.groups) > UNROLLED_MAX:
            return self.loop(plan)
        always, tested = 0, []
        for group in plan.groups:
            node = fold_constants(plan.node, group.values)
            if isinstance(node, Const) and node.type == "bool":
                always |= group.mask if node.value else 0
            else:
                tested.append(f"({self.mask(group.mask)} if {self.truth(node, group)} else 0)")
        terms = ([self.mask(always)] if always else []) + tested
        return Text(f"({' | '.join(terms)})" if terms else "0")

    def loop(self, plan: Groups) -> Text:
        """Write a loop over (candidate values, channel values, mask); a value that is None fails as it must."""
        names = sorted(name for name in free_names(plan.node) if self.kinds[name] == "candidate")
        channels = sorted(name for name in free_names(plan.node) if self.kinds[name] == "channel")
        if channels or any(not fits(self.types[name], g.values[name]) for g in plan.groups for name in names):
            return Text("_raise()")
        locals_ = [self.locals[name] for name in names]
        rows = [(*(g.values[name] for name in names), g.mask) for g in plan.groups]
        result = self.keep("0")
        self.line(f"for {', '.join(locals_)}, mask in {self.writer.refer('_rows', rows)}:")
        self.line(f"    if {self.writer.truth(plan.node)}: {result} |= mask")
        return Text(result)

    def truth(self, node: Node, group: Group) -> str:
        text = self.value(node, group)
        return text if node.type == "bool" else f"_boolean({text})"

    def value(self, node: Node, group: Group) -> str:
        """Return a node as seen by a group: candidate values put in, channel values of the group's channel."""
        folded = fold_constants(node, group.values)
        names = dict(self.locals)
        for name in free_names(folded):
            if self.kinds[name] == "channel":
                names[name] = f"{names[name]}_{self.channels.index(group.channel or '')}"
            elif self.kinds[name] == "candidate":
                ready = self.ready(name, group.values[name])
                if ready is None:
                    return "_raise()"
                names[name] = ready
        self.writer.names = names
        text = self.writer.write(folded)
        self.writer.names = self.locals
        return text

    def ready(self, name: str, value: object) -> str | None:
        """Return a candidate's list or map by name, None when it is missing or of the wrong type."""
        if not fits(self.types[name], value):
            return None
        return self.writer.refer("_value", take(self.types[name], name, value))

    def index(self, plan: Index) -> str:
        request = self.writer.write(plan.request)
        table, known = self.writer.refer("_table", plan.table), self.mask(plan.known)
        if plan.operator == "in":
            return f"_any_of({table}, {request})"
        if plan.operator == "_==_":
            return f"{table}.get({request}, 0)"
        if plan.operator == "_!=_":
            return f"({known} ^ {table}.get({request}, 0))"
        keys, totals = self.writer.refer("_keys", plan.keys), plan.prefixes.totals
        prefixes = self.writer.refer("_prefixes", plan.prefixes.first if totals is None else totals)
        open_, close = "()" if totals is None else "[]"
        side = "_left" if plan.operator in ("_<_", "_>=_") else "_right"
        above = "" if plan.operator in ("_<_", "_<=_") else f"{known} ^ "
        if plan.request.type != "double":
            return f"({above}{prefixes}{open_}{side}({keys}, {request}){close})"
        return f"({above}{prefixes}{open_}{side}({keys}, value){close} if (value := {request}) == value else 0)"


def fits(type_: str, value: object) -> bool:
    try:
        return value is not None and take(type_, "", value) is not None
    except EvaluationError:
        return False


def names_read(node: Node) -> frozenset[str]:
    """Return the variables whose values a node needs (not only whether they are there)."""
    return frozenset(part.name for part in walk(node) if isinstance(part, Name))


def needed(plan: Plan) -> frozenset[str]:
    """Return the variables that must be there for the fast path."""
    match plan:
        case Guard() | Groups():
            return names_read(plan.node)
        case Index():
            return names_read(plan.request)
        case Not():
            return needed(plan.part)
        case Both():
            return frozenset[str]().union(*map(needed, plan.parts))
        case Choice():
            return needed(plan.condition) | needed(plan.then) | needed(plan.otherwise)
    return frozenset()


def fixed_causes(plan: Plan) -> list[Cause]:
    """Return the causes of failures known when the release is made."""
    match plan:
        case Fixed():
            return list(plan.masks.causes)
        case Index():
            return list(plan.unknown.causes)
        case Not():
            return fixed_causes(plan.part)
        case Both():
            return [cause for part in plan.parts for cause in fixed_causes(part)]
        case Choice():
            parts = (plan.condition, plan.then, plan.otherwise)
            return [cause for part in parts for cause in fixed_causes(part)]
    return []


def any_of(table: Mapping[object, int], items: Sequence[object]) -> int:
    """Return the candidates whose value is among the items."""
    true = 0
    for item in items:
        true |= table.get(item, 0)
    return true


def give_up() -> int:
    """Leave the fast path."""
    raise ValueError("only the exact evaluation can answer")


def program(
    rules: Sequence[Rule], out: Program, request_names: Sequence[str], channel_names: Sequence[str],
    slow: Callable[..., int], slow_lever: Callable[..., None],
) -> tuple[Callable[..., Any], str]:  # fmt: skip
    """Return (the function, its text).

    slow(number, request, channel, within, failed) and slow_lever(number, request, channel, hits, failed, levers)
    are the exact judgements the function falls back to.
    """
    out.namespace.update(
        EVERY=out.every, _slow=slow, _slow_lever=slow_lever, _any_of=any_of, _because=because, _raise=give_up
    )
    out.lines.append("def judge(request, channel, at_ms, within, weighed):")
    out.line("failed = []")
    out.line("levers = []")
    out.read_values(request_names, channel_names)
    for number, rule in enumerate(rules):
        out.rule(number, rule)
    if forces := [f"h{number}" for number, rule in enumerate(rules) if rule.policy.effect == "force"]:
        out.line(f"weighed |= {' | '.join(forces)}")
    for number, rule in enumerate(rules):
        if rule.lever is not None:
            out.lever(number, rule, rule.lever)
    hits = "".join(f"h{number}, " for number in range(len(rules)))
    out.line(f"return ({hits}), failed, levers")
    text = "\n".join(out.lines) + "\n"
    exec(compile(text, "<policies>", "exec"), out.namespace)  # noqa: S102 - text of our own making, from checked trees
    return cast(Callable[..., Any], out.namespace["judge"]), text
