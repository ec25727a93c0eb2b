"""The engine against a deliberately naive model of the same rules, over random workflows and outcomes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from paigeant.envelope import read_claims, write_claims
from paigeant.model.records import Hop, RevisionGrant
from paigeant.routing import (
    ActivitySpec,
    Commit,
    Failed,
    Park,
    Retry,
    RetryPolicy,
    RevisionDraft,
    Slip,
    Succeeded,
    advance,
    apply,
    build_steps,
    fold,
    revision_ids,
    start,
)

from .records_kit import Values, hop_of, origin_of

V = Values()
ATTEMPTS = 2
GRANT = RevisionGrant(by=("acme",), acts=("x", "y"), max=9)


@dataclass
class Model:
    """Lists of dictionaries and nothing clever. Values are plain; a step is the spec it came from."""

    todo: list[dict[str, Any]]
    values: dict[str, Any]
    done: list[str] = field(default_factory=list)
    results: dict[str, Any] = field(default_factory=dict)
    undo: list[tuple[dict[str, Any], Any]] = field(default_factory=list)
    undone: list[str] = field(default_factory=list)
    not_undone: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    backwards: bool = False
    no_return: bool = False
    attempt: int = 1
    end: str | None = None

    def run(self, outcome: dict[str, Any]) -> str:
        step = self.undo[-1][0] if self.backwards else self.todo[0]
        if outcome["kind"] == "rate-limited":
            return "wait"
        if outcome["kind"] == "transient" and self.attempt < (step["attempts"] or ATTEMPTS):
            self.attempt += 1
            return "wait"
        if outcome["kind"] != "ok":
            parks = step["undo"] == "park" if self.backwards else self.no_return or step["exhausted"] == "park"
            if parks:
                return "stand"
        self.attempt = 1
        for name, value in outcome["vars"].items():
            if value is None:
                self.values.pop(name, None)
            else:
                self.values[name] = value
        if self.backwards:
            self._back(step, outcome)
        else:
            self._forward(step, outcome)
        return "go"

    def _forward(self, step: dict[str, Any], outcome: dict[str, Any]) -> None:
        self.todo.pop(0)
        if outcome["comp"] is not None and not self.no_return:
            self.undo.append((step, outcome["comp"]))
        if outcome["kind"] != "ok":
            self.backwards = True
            if not self.undo:
                self.end = "failed"
            return
        self.done.append(step["id"])
        self.results[step["id"]] = outcome["out"]
        if step["pivot"]:
            self.no_return, self.undo = True, []
        revision = outcome["revision"]
        if revision is not None:
            self.dropped += [s["id"] for s in self.todo if s not in revision["tail"]]
            self.todo = list(revision["tail"])
        if revision is not None and revision["end"]:
            self.end = "terminated"
        elif not self.todo:
            self.end = "completed"

    def _back(self, step: dict[str, Any], outcome: dict[str, Any]) -> None:
        self.undo.pop()
        (self.undone if outcome["kind"] == "ok" else self.not_undone).append(step["id"])
        if outcome["kind"] != "ok" and step["undo"] != "continue":
            self.end = "compensation_failed"
        elif not self.undo:
            self.end = "compensation_failed" if self.not_undone else "compensated"


texts = st.text("abc", min_size=1, max_size=3)
steps = st.fixed_dictionaries(
    {
        "name": st.sampled_from("abc"),
        "attempts": st.sampled_from([None, 1, 3]),
        "exhausted": st.sampled_from([None, "compensate", "park"]),
        "undo": st.sampled_from([None, "halt", "continue", "park"]),
        "pin": st.booleans(),
        "pivot": st.sampled_from([False, False, False, True]),
    }
)
outcomes = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(["ok", "ok", "ok", "ok", "transient", "permanent", "rate-limited"]),
        "out": texts,
        "vars": st.dictionaries(st.sampled_from("pq"), st.one_of(st.none(), texts), max_size=2),
        "comp": st.one_of(st.none(), texts),
        "revise": st.one_of(st.none(), st.sampled_from(["end", "drop", "insert", "append"])),
    }
)


def spec_of(step: dict[str, Any]) -> ActivitySpec:
    return ActivitySpec(
        step["name"],
        id=step.get("id"),
        attempts=step["attempts"],
        exhausted=step["exhausted"],
        on_undo_failure=step["undo"],
        pin=step["pin"],
        pivot=step["pivot"],
    )


class Run:
    """The engine and the model, side by side."""

    def __init__(self, given: list[dict[str, Any]]) -> None:
        self.by_id = {str(n): {**step, "id": str(n)} for n, step in enumerate(given, 1)}
        self.model = Model(list(self.by_id.values()), {"p": "first"})
        origin = origin_of(
            build_steps([spec_of(s) for s in self.by_id.values()], V.ref), rev=GRANT, vars={"p": V.ref("first")}
        )
        self.slip, self.hops, self.attempt = start(origin), list[Hop](), 1

    def outcome(self, drawn: dict[str, Any]) -> dict[str, Any]:
        """The outcome with a legal revision, if it has one."""
        revision = None
        if drawn["kind"] == "ok" and drawn["revise"] and not self.model.backwards:
            revision = self._revision(drawn["revise"])
        return {**drawn, "revision": revision}

    def _revision(self, how: str) -> dict[str, Any] | None:
        rest = self.model.todo[1:]
        pinned = [step for step in rest if step["pin"]]
        if how == "end":
            return None if pinned else {"tail": [], "end": True}
        if how == "drop":
            return {"tail": pinned, "end": False}
        if len(self.model.done) + 1 + len(rest) + 1 > GRANT.max:
            return None
        ids = revision_ids(self.slip.revisions + 1)
        new = {"id": ids(1), "name": "x", "attempts": None, "exhausted": None, "undo": "continue"}
        self.by_id[ids(1)] = new = {**new, "pin": False, "pivot": False}
        return {"tail": [new, *rest] if how == "insert" else [*rest, new], "end": False}

    def result(self, outcome: dict[str, Any]) -> Succeeded | Failed:
        comp = None if outcome["comp"] is None else V.ref(outcome["comp"])
        variables = {k: None if v is None else V.ref(v) for k, v in outcome["vars"].items()}
        if outcome["kind"] != "ok":
            return Failed("Boom", V.ref("text").h, outcome["kind"], comp=comp, variables=variables)
        revision = None
        if outcome["revision"] is not None:
            known = {step.id: step for step in self.slip.remaining}
            tail = outcome["revision"]["tail"]
            fresh = [spec_of({**s, "id": None}) for s in tail if s["id"] not in known]
            made = iter(build_steps(fresh, V.ref, ids=revision_ids(self.slip.revisions + 1)) if fresh else ())
            revision = RevisionDraft(
                tuple(known[s["id"]] if s["id"] in known else next(made) for s in tail),
                "why",
                outcome["revision"]["end"],
            )
        return Succeeded(V.ref(outcome["out"]), variables, comp, revision)

    def turn(self, drawn: dict[str, Any], random: float) -> None:
        outcome = self.outcome(drawn)
        result = self.result(outcome)
        policy = RetryPolicy(attempts=ATTEMPTS)
        decided = [advance(self.slip, result, attempt=self.attempt, policy=policy, random=random) for _ in "ab"]
        assert decided[0] == decided[1], "the engine is deterministic"
        expected = self.model.run(outcome)
        match decided[0]:
            case Commit(draft):
                assert (expected, draft.att) == ("go", self.attempt)
                self.attempt = 1
                hop = hop_of(self.slip, draft)
                self.hops.append(hop)
                self.slip = apply(self.slip, read_claims(write_claims(hop), Hop))
            case Retry(_, counted):
                assert expected == "wait"
                self.attempt += counted
            case Park(_):
                assert expected == "stand"

    def check(self) -> None:
        slip, model = self.slip, self.model
        assert (slip.status, slip.pivoted) == (model.end, model.no_return)
        assert [s.id for s in slip.executed] == model.done
        assert [s.id for s in slip.remaining] == [s["id"] for s in model.todo]
        assert [s.id for s in slip.discarded] == model.dropped
        assert [(u.step.id, u.data) for u in slip.to_undo] == [(s["id"], V.ref(data)) for s, data in model.undo]
        assert (list(slip.undone), list(slip.undo_failed)) == (model.undone, model.not_undone)
        assert slip.variables == {k: V.ref(v) for k, v in model.values.items()}
        assert slip.results == {k: V.ref(v) for k, v in model.results.items()}
        assert self.attempt == model.attempt
        assert V.travelling(slip) == self._needed(slip)
        assert fold(slip.origin, self.hops) == slip, "the fold is the state"

    def _needed(self, slip: Slip) -> set[str]:
        model = self.model
        plain = [*model.values.values(), *([model.results[model.done[-1]]] if model.done else [])]
        plain += ["text"] if model.backwards else []
        if model.end is None:
            plain += [data for _, data in model.undo] + [{} for _ in model.undo]
            plain += [] if model.backwards else [{} for _ in model.todo]
        text = V.ref("text").h
        return {V.ref(value).h if value != "text" else text for value in plain}


@settings(max_examples=300, deadline=None)
@given(
    given=st.lists(steps, min_size=1, max_size=5),
    script=st.lists(st.tuples(outcomes, st.floats(0, 1, exclude_max=True)), max_size=25),
)
def test_the_engine_does_what_the_model_does(given: list[dict[str, Any]], script: list[Any]) -> None:
    run = Run(given)
    run.check()
    for drawn, random in script:
        if run.model.end is not None:
            break
        run.turn(drawn, random)
        run.check()
