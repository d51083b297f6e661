"""Random whole lives of members and claims through real blocks, beside the slow oracle: equal to the fen at every step.

Several plans on one chain; everything is a signed transaction in a block that ``validity`` has checked (not in `make
deep`, see ``Watched``); what happens by itself happens by deadlines, sometimes many in one block after an outage.
Steps are (plan, name, a, b) with free integers, as in ``lockstep``, so that a life that fails can be cut down to its
core (``deep_lives.shortest``).

Compared after every block: the journal's equation. After every step, and every block in which time passes: the accounts
of every plan, the time of the plan's next deadline and that of every claim with its state, amount and period. After
every step of a member, and whenever time has passed: counts by birth month, every member's bill, debts and waiting. At
every settlement and close: shares, charges, what was over, short and surplus. At the end: the list of charges of every
bill, derived indexes and jurors' counters against the rows, and the roots of all blocks replayed on an empty store.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import date, timedelta
from random import Random

from ledger import calendar
from ledger import transactions as tx
from ledger.actions import AddPlanVersion
from ledger.apply import apply_block
from ledger.genesis import GenesisPlan, initial_batch
from ledger.roles import Role
from ledger.rows import Proposal
from ledger.store import MemoryStore
from ledger.transactions import decode_transaction, transaction_id
from ledger.validity import view_at_genesis
from tests.ledger.chain import ORGANISATIONS, Block, Chain, genesis_values, organisation
from tests.ledger.claim_kit import check_whole
from tests.ledger.lives_kit import EPOCH, MANY, PLANS, VERSION_DAYS, YEAR, Step, Watched, rules_of, windows_of
from tests.ledger.lives_plan import PlanInBlocks
from tests.reference.claim_times_by_hand import day_at


class Lives:
    """Several plans on one chain, and everybody in them."""

    def __init__(self, people: int, *, checked: bool = True) -> None:
        genesis_plans = tuple(GenesisPlan(f"plan {at}", versions[0]) for at, versions in enumerate(PLANS))
        firm = organisation("firm-c", Role.ASSESSOR)
        self.chain = Watched(genesis_values(plans=genesis_plans, organisations=(*ORGANISATIONS, firm)))
        self.chain.checked = checked
        self.plans: list[PlanInBlocks] = []
        self.compared = [0] * len(PLANS)
        self.blocks = 0
        self.deadlines_max = 0
        self._acting = False
        self.seen: Counter[str] = Counter()
        for plan_id, versions in enumerate(PLANS):
            rules = [rules_of(date(2018, 1, 1), versions[0])]
            rules += [
                rules_of(EPOCH + timedelta(days=day), each)
                for day, each in zip(VERSION_DAYS, versions[1:], strict=False)
            ]
            self.plans.append(PlanInBlocks(self, plan_id, rules, windows_of(versions[0])))
        for plan in self.plans:
            plan.hand.now = self.chain.now_ms
        self.chain.watch = self.after_block
        self._versions()
        for plan in self.plans:
            plan.found(people)

    def _versions(self) -> None:
        """The later versions of the plans, by governance: voted for, and not objected to for a week."""
        for plan_id, versions in enumerate(PLANS):
            for day, params in zip(VERSION_DAYS, versions[1:], strict=False):
                proposal = self.chain.state.length(Proposal)
                self.chain.ok("platform", tx.Propose(AddPlanVersion(plan_id, day, params)))
                for name in ("bank", "firm-a", "firm-b"):
                    self.chain.block((name, tx.VoteFor(proposal)))
        self.let_pass(24 * 8, 0)
        for _, row in self.chain.state.rows(Proposal):
            assert row.code == "OK", row
            self.seen["plan version"] += 1

    # -- time --------------------------------------------------------------------------------------------------------

    def sync(self) -> None:
        """By hand, what is due at the time of the next block."""
        now = self.chain.now_ms
        for plan in self.plans:
            plan.hand.advance(now)
            plan.day = day_at(now)

    def after_block(self, block: Block) -> None:
        """What is due by hand at the block's time; then, unless a step is under way, both sides must agree."""
        self.blocks += 1
        now = block.applied.ledger_time_ms
        due = len(block.deadline_receipts)
        self.deadlines_max = max(self.deadlines_max, due)
        if due >= MANY:
            self.seen["many deadlines in one block"] += 1
        state = self.chain.state
        for plan in self.plans:
            plan.rows = state
            plan.hand.advance(now)
            plan.observe()
            plan.check_journal()
            if not self._acting:
                plan.check_block()

    def let_pass(self, hours: int, _: int) -> None:
        """Time passes from deadline to deadline; slower while a jury sits."""
        if any(case.state == "JURY" for plan in self.plans for case in plan.hand.cases):
            hours = min(hours, 20)
        self.chain.step_to(self.chain.now_ms + hours * calendar.MS_PER_HOUR)

    def outage(self, days: int, _: int) -> None:
        """No block for some days; then everything that was due comes at once."""
        self.seen["outage"] += 1
        self.chain.block(("clock", tx.AdvanceClock(self.chain.now_ms + days * calendar.MS_PER_DAY)))
        self.chain.quiet()

    # -- steps -------------------------------------------------------------------------------------------------------

    def run(self, steps: Sequence[Step]) -> None:
        """Do the steps, comparing everything."""
        for step in steps:
            self.step(step)

    def step(self, step: Step) -> None:
        """One step of one plan, or time passes (plan -1)."""
        plan_id, name, a, b = step
        if plan_id < 0:
            {"pass": self.let_pass, "outage": self.outage}[name](a, b)
            touched = self.plans
        else:
            self._acting = True
            self.sync()
            self.plans[plan_id].doing[name](a, b)
            self._acting = False
            touched = [] if name in ("claim", "money") else [self.plans[plan_id]]
            if any(plan.waits_for_a_draw() for plan in self.plans):
                self.chain.quiet()
        for plan in self.plans:
            plan.hand.advance(self.chain.view.ledger_time(self.chain.view.header.time_ms))
            plan.check_block()
        for plan in touched:
            plan.agree(f"after {step}")
            self.compared[plan.plan_id] = plan.check_results(self.compared[plan.plan_id])

    def finish(self) -> None:
        """At the end of a life: statements, indexes, jurors, and the same roots from the same blocks."""
        for plan in self.plans:
            plan.agree_statements()
            self.seen.update(plan.hand.seen)
        check_whole(self.chain)
        replayed(self.chain)

    def lives(self) -> tuple[int, int]:
        """(rows of members compared over a year of half-months or more, those of them to whom something happened)."""
        found = eventful = 0
        for plan in self.plans:
            claimants = {case.person for case in plan.hand.cases}
            for number, person in enumerate(plan.hand.people):
                if plan.hand.period - person.first_ever >= YEAR:
                    found += 1
                    eventful += number in claimants or number in plan.hand.moved
        return found, eventful


def replayed(chain: Chain) -> None:
    """The blocks again on an empty store: the same roots of state and receipts."""
    batch, header, root = initial_batch(chain.genesis)
    store = MemoryStore()
    store.write(batch)
    genesis = chain.genesis
    view = view_at_genesis(store, chain_id=genesis.chain_id, params=genesis.params, header=header, state_root=root)
    for block in chain.blocks:
        sent = [(transaction_id(raw), decode_transaction(raw)) for raw in block.body.transactions]
        again = apply_block(store, view, block.header, block.body.parent_certificate, sent)
        assert (again.state_root, again.receipts_root) == (block.applied.state_root, block.applied.receipts_root)
        store.write(again.batch)
        view = again.view


# ---- random lives ----------------------------------------------------------------------------------------------------

FREQUENCIES = {
    "join": 2,
    "leave": 2,
    "leave_owing": 2,
    "turn_back": 2,
    "come_back": 6,
    "sponsor": 1,
    "correct": 2,
    "confirm": 3,
    "pay": 4,
    "refund": 2,
    "die": 1,
    "void": 1,
    "suspend": 1,
    "lift": 2,
    "expel": 1,
    "reinstate": 3,
    "file": 5,
    "claim": 60,
    "money": 4,
}


def life(seed: int, passes: int) -> list[Step]:
    """A random life of all plans: every few days some steps; one time in forty nobody makes a block for weeks."""
    rng = Random(seed)
    bad = rng.randrange(13)
    names, weights = tuple(FREQUENCIES), tuple(FREQUENCIES.values())
    steps: list[Step] = []
    for _ in range(passes):
        if rng.random() < 1 / 40:
            steps.append((-1, "outage", rng.choice((2, 9, 20, 45)), 0))
        else:
            steps.append((-1, "pass", rng.randrange(20, 130), 0))
        for plan_id in range(len(PLANS)):
            if rng.random() < 0.6:
                noise = rng.randrange(1_000)
                steps.append((plan_id, "collect_all", bad if rng.random() < 0.7 else rng.randrange(13), noise))
            for name in rng.choices(names, weights, k=rng.randrange(7)):
                count = rng.choice((1, 1, 2)) if name == "join" else rng.randrange(1_000)
                steps.append((plan_id, name, count, rng.randrange(9_000)))
    return steps
