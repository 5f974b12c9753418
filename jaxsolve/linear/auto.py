"""Which method and which preconditioner suit a system: a table of rules, tried from the top."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from jaxsolve.front.request import Solve, as_method
from jaxsolve.linear.knowledge import COARSE_LIMIT, SKEWNESS, Knowledge
from jaxsolve.linear.probes import PRODUCTS
from jaxsolve.linear.rectangular import BY_ITERATIONS, BY_SINGULAR_VALUES, FOR_RECTANGULAR
from jaxsolve.linear.rule import Rule
from jaxsolve.operators.operator import LinearOperator
from jaxsolve.preconditioners.preconditioner import AbstractPreconditioner
from jaxsolve.preconditioners.recipe_registry import PRECONDITIONERS
from jaxsolve.solvers.method import AbstractMethod

#: Dense matrices up to this size are factorised: 20 s at 8192 on one core, where iterations may not end at all.
DENSE_LIMIT = 8192
#: Sparse matrices up to this size become dense ones: 10 ms on one core, no callback, whole batches at once.
SMALL = 256
#: Bands up to this width are eliminated (CPU seconds for new values of 20 000 unknowns, 1 to 4 diagonals on each side:
#: 0.008, 0.018, 0.022, 0.022; sparse-direct 0.015, 0.021, 0.020, 0.022).
NARROW = 2
#: Elimination that is predicted to take less than this many seconds is not compared with anything: every iteration
#: compiles longer than that (a grid of 140² takes 0.07 s).
BRIEF = 0.1
#: The same where no multigrid is known to be for A: incomplete factors of 45 000 unknowns take 1.3 s and may fail.
RELIABLE = 4.0
#: The same where everything else has failed.
LAST = 60.0
#: Unknowns for which no prediction is needed: 0.05 s whatever the pattern is.
TINY = 1000
#: Where rows are exchanged fill is not predicted: matrices up to this size are taken for brief (a grid with a tenth of
#: its entries missing, 19 600: 0.07 s for new values, GMres with ilu 0.1; a random pattern of 5000 rows of 6: 2.6 s;
#: that of A + Aᵀ does not tell the latter from bayer10 and memplus, which take 0.04 and 0.2 s) ...
DIRECT = 20_000
#: ... and up to this size for reliable, unless a probe has found them easy (40 000: 0.18 s, GMres with ilu 0.2).
DIRECT_AT_MOST = 40_000
#: Away from a CPU: the factors stay on the host, and each application is a round trip (10⁶ numbers, H100: 7 ms,
#: where an iteration takes 0.03).
REMOTE = 5_000
#: Longer rows fill the factors.
ENTRIES = 4_000_000


def _local() -> bool:
    return jax.default_backend() == "cpu"


def _narrow(k: Knowledge) -> bool:
    # Away from a CPU each row of the elimination launches kernels: 36 µs on an H100, 0.7 s for 20 000 unknowns. Three
    # diagonals have a kernel of their own there.
    return k.sparse and max(k.bandwidth) <= (NARROW if _local() or k.n <= SMALL else 1)


def _direct(seconds: float, limit: int) -> Callable[[Knowledge], bool]:
    """Whether elimination is predicted to take at most so long, or where that can't be predicted, n is so small."""

    def holds(k: Knowledge) -> bool:
        # A narrow band does not fill: its factors are worth the round trip at any size.
        far = not _local() and max(k.bandwidth) > NARROW
        if not k.sparse or (far and k.n > REMOTE):
            return False
        if k.n <= TINY:
            return True
        if not k.couples_both_ways:
            return k.n <= limit and k.entries <= ENTRIES
        return k.elimination_seconds <= seconds

    return holds


def _cheaper(k: Knowledge) -> bool:
    """Whether elimination is predicted to take less than iterating; where nothing is known of that, `RELIABLE`."""
    return _direct(min(RELIABLE, k.multigrid_seconds), DIRECT_AT_MOST)(k)


#: What is singular by its pattern has no factors; b may be in its range nevertheless.
DEFICIENT = Rule(
    "A is sparse and singular by the positions of its entries (a row or a column without any, for one)",
    lambda k: k.deficient,
    "lsmr",
    None,
    "it finds the solution of least norm where there is one",
)

#: Without iterations, for `Solve("auto")` alone.
FACTORISATIONS = (
    BY_SINGULAR_VALUES,
    BY_ITERATIONS,
    DEFICIENT,
    Rule(
        f"A is dense, known to be positive definite, n <= {DENSE_LIMIT}",
        lambda k: k.dense and k.n <= DENSE_LIMIT and k.positive,
        "Cholesky",
        None,
        "factors of a dense matrix are exact and cost what a few hundred iterations do",
    ),
    Rule(
        f"A is dense, n <= {DENSE_LIMIT}",
        lambda k: k.dense and k.n <= DENSE_LIMIT,
        "LU",
        None,
        "factors of a dense matrix are exact and cost what a few hundred iterations do",
    ),
    Rule(
        f"A has a band of at most {NARROW} diagonals on each side (away from a CPU and for n > {SMALL} of one)",
        _narrow,
        "banded",
        None,
        "elimination in a narrow band costs a few products",
    ),
    Rule(
        f"A is sparse, n <= {SMALL}, or half full, n <= {DENSE_LIMIT}",
        lambda k: k.sparse and (k.n <= SMALL or (k.n <= DENSE_LIMIT and 2 * k.entries > k.n**2)),
        "LU",
        None,
        "a small dense matrix is factorised on the device, whole batches at once",
    ),
    Rule(
        f"A is sparse, its elimination predicted to take at most {BRIEF} s (n <= {DIRECT} where its pattern is not "
        f"symmetric, n <= {REMOTE} away from a CPU, where its band is not narrow)",
        _direct(BRIEF, DIRECT),
        "sparse-direct",
        None,
        "that is over before an iteration is compiled, and takes no property of A for granted",
    ),
)

#: A method with its preconditioner, also for `preconditioner="auto"`.
PAIRS = (
    Rule(
        f"A is sparse, known to be symmetric, and CG solved a probe in at most {PRODUCTS} steps, n >= {COARSE_LIMIT}",
        lambda k: k.sparse and k.hermitian and k.easy_steps > 0,
        "CG",
        "jacobi",
        "no set-up pays for so few iterations",
    ),
    Rule(
        f"A is sparse, and biCG-stab solved a probe in at most {PRODUCTS // 2} steps, n >= {COARSE_LIMIT}",
        lambda k: k.sparse and not k.hermitian and k.easy_steps > 0,
        "biCG-stab",
        "jacobi",
        "no set-up pays for so few iterations",
    ),
    Rule(
        f"A is sparse, its elimination predicted to take less than multigrid, or than {RELIABLE:g} s where that is no "
        f"choice (n <= {DIRECT_AT_MOST} where its pattern is not symmetric, n <= {REMOTE} away from a CPU, where its "
        "band is not narrow)",
        _cheaper,
        "sparse-direct",
        None,
        "factors take no property of A for granted",
    ),
    Rule(
        f"A is sparse, known to be definite, n >= {COARSE_LIMIT}",
        lambda k: k.sparse and k.definite and k.couples_both_ways and k.n >= COARSE_LIMIT,
        "CG",
        "amg",
        "iterations do not grow with the size",
    ),
    Rule(
        "A is sparse, known to be positive definite",
        lambda k: k.sparse and k.positive and k.couples_both_ways,
        "CG",
        "ic",
        "incomplete factors keep definiteness and take care of scales",
    ),
    Rule(
        f"A is sparse, symmetric, its diagonal positive, no negative curvature in a probe, n >= {COARSE_LIMIT}",
        lambda k: k.sparse and k.n >= COARSE_LIMIT and k.hermitian and k.probably_definite,
        "CG",
        "amg",
        "most such matrices are definite, and CG says so if this one is not",
    ),
    Rule(
        f"A is sparse, its rows or columns dominated by the diagonal, pattern symmetric, couplings not symmetric by at "
        f"most {SKEWNESS}/√n of their sum, n >= {COARSE_LIMIT}",
        lambda k: k.sparse and k.dominated and k.suits_multigrid,
        "GMres",
        "amg",
        "diffusion with some convection: multigrid needs no symmetry there",
    ),
    Rule(
        f"A is a stencil on a grid with unknown (traced) values, n >= {COARSE_LIMIT}",
        lambda k: k.sparse and k.n >= COARSE_LIMIT and k.traced and k.grid and not k.zero_diagonal,
        "GMres",
        "amg",
        "stencils mostly are diffusion; GMres needs no symmetry, which is not known",
    ),
    Rule(
        "A is sparse",
        lambda k: k.sparse,
        "GMres",
        "ilu",
        "incomplete factors with rows matched and scaled meet zero diagonals, indefinite matrices and convection",
    ),
    Rule(
        f"A is sparse, its elimination predicted to take at most {LAST:g} s",
        lambda k: k.couples_both_ways and _direct(LAST, 0)(k),
        "sparse-direct",
        None,
        "where iterations have failed factors are worth their time",
    ),
    Rule(
        "A is known to be definite, and so is its diagonal",
        lambda k: k.definite and k.diagonal,
        "CG",
        "jacobi",
        "the diagonal takes out scales for nothing",
    ),
    Rule(
        "the diagonal of A is known, nothing of its symmetry",
        lambda k: k.diagonal and not k.hermitian,
        "IDR(s)",
        "jacobi",
        "the diagonal takes out scales for nothing",
    ),
)

#: A method alone, also for a preconditioner that was given.
PLAIN = (
    Rule("A is known to be definite", lambda k: k.definite, "CG", None, "the cheapest iteration"),
    Rule(
        "A is known to be symmetric (Hermitian)",
        lambda k: k.hermitian,
        "minres",
        None,
        "it may be indefinite",
    ),
    Rule(
        "nothing is known of the symmetry of A",
        lambda k: True,
        "IDR(s)",
        None,
        "of the methods with short recurrences the one that solves most real matrices",
    ),
)

#: Where the rows of A lie on the devices of a mesh: methods whose sums are over all of them.
ON_MESH = (
    Rule(
        "the rows of A lie on a mesh, and it is Hermitian",
        lambda k: k.hermitian,
        "CG",
        "jacobi",
        "most such matrices are definite, and CG says so if this one is not",
    ),
    Rule(
        "the rows of A lie on a mesh, and it is Hermitian",
        lambda k: k.hermitian,
        "minres",
        None,
        "it may be indefinite",
    ),
    Rule("the rows of A lie on a mesh", lambda k: True, "GMres", "jacobi", "it needs no symmetry"),
    Rule("the rows of A lie on a mesh", lambda k: True, "IDR(s)", "jacobi", "restarts do not slow it down"),
)


class Choice(NamedTuple):
    """What is done with a system.

    Attributes:
        method: The method.
        preconditioner: What was asked for, a recipe in place of "auto".
        reasons: Why, a sentence each.
        rule: The rule that was used, None where nothing was left open.
        tried: The rules that were used before it and failed.
    """

    method: AbstractMethod
    preconditioner: Any
    reasons: tuple[str, ...]
    rule: Rule | None = None
    tried: tuple[Rule, ...] = ()


def choose(A: LinearOperator, solve: Solve) -> Choice:
    """The method and the preconditioner for A, as far as a request leaves them open.

    With method "auto" and no preconditioner both are chosen; with a named method, None means none.
    """
    recipe, named = solve.preconditioner, isinstance(solve.method, AbstractMethod)
    if named and not isinstance(recipe, str):
        return Choice(solve.method, recipe, ("you asked for it",))
    k = Knowledge.of(A)
    if named:
        return _preconditioned(k, solve.method)
    return _chosen(k, next(rule for rule in rules_of(A, solve) if rule.holds(k)), recipe)


def another(A: LinearOperator, solve: Solve, choice: Choice, why: str, singular: bool) -> Choice | None:
    """What is tried after a choice that failed: the next rule that holds; None where there is none left.

    Args:
        A: The operator.
        solve: The request.
        choice: What was tried.
        why: What became of it, in words.
        singular: Whether its factors turned out singular: then the solution of least norm is looked for.
    """
    used, k = choice.rule, Knowledge.of(A)
    if used in (None, DEFICIENT, BY_ITERATIONS) or isinstance(solve.method, AbstractMethod):
        return None
    tried = (*choice.tried, used)
    if singular and used.method in FACTORISING:
        found = f"A is singular, `{choice.method.name}` has found: `{DEFICIENT.method}`, {DEFICIENT.why}"
        return Choice(as_method(DEFICIENT.method), None, (*choice.reasons, found), DEFICIENT, tried)
    # What the factors of a dense matrix leave is rounding, and of a function nothing is known that helps.
    if singular or not (k.sparse or A.on_mesh is not None):
        return None
    rules, pairs = rules_of(A, solve), {rule.pair for rule in tried}
    for rule in rules[rules.index(used) + 1 :]:
        if rule.pair not in pairs and rule.holds(k):
            next_choice = _chosen(k, rule, solve.preconditioner)
            reasons = (*choice.reasons, f"{used.pair} {why}", *next_choice.reasons)
            return next_choice._replace(reasons=reasons, tried=tried)
    return None


#: Methods that find out that a matrix is singular.
FACTORISING = ("LU", "Cholesky", "banded", "sparse-direct")


def rules_of(A: LinearOperator, solve: Solve) -> tuple[Rule, ...]:
    """The rules that a request for A leaves open, in their order."""
    return rules_for(solve) if A.on_mesh is None else ON_MESH


def rules_for(solve: Solve) -> tuple[Rule, ...]:
    """The rules that a request leaves open where a matrix lies on one device."""
    if solve.preconditioner is None:
        # Factors are made regular on a null space that is declared.
        declared = solve.rank_deficiency or solve.null_space is not None
        found = (DEFICIENT, BY_SINGULAR_VALUES) if declared else ()
        return tuple(rule for rule in FACTORISATIONS if rule not in found) + PAIRS + PLAIN
    rectangular = (BY_ITERATIONS,)
    if isinstance(solve.preconditioner, str):
        return rectangular + tuple(rule for rule in PAIRS if rule.preconditioner is not None) + PLAIN
    return rectangular + PLAIN


def alternatives(A: LinearOperator, solve: Solve, used: Rule | None) -> tuple[Rule, ...]:
    """What the next rules would do that hold too, each pair of method and preconditioner once."""
    k, found = Knowledge.of(A), {}
    for rule in FOR_RECTANGULAR if k.rectangular else rules_of(A, solve):
        pair = (rule.method, rule.preconditioner)
        if (
            rule is not used
            and (used is None or pair != (used.method, used.preconditioner))
            and rule.holds(k)
        ):
            found.setdefault(pair, rule)
    return tuple(found.values())


def table() -> str:
    """The rules as text, in the order in which they are tried."""
    return "\n".join(f"{rule.pair:16} {rule.when}: {rule.why}" for rule in FACTORISATIONS + PAIRS + PLAIN)


def _preconditioned(k: Knowledge, method: AbstractMethod) -> Choice:
    """A named method, with the preconditioner that suits it and A."""
    if k.rectangular:
        return Choice(
            method, None, ("you asked for the method", "no preconditioner is for rectangular matrices")
        )
    if "positive_definite" in method.wants and not k.asymmetric:
        k = k.trusted()
    for rule in PAIRS:
        if rule.preconditioner is not None and rule.holds(k):
            recipe = PRECONDITIONERS[rule.preconditioner]()
            if not method.definite_preconditioner or _stays_definite(recipe, k):
                return Choice(method, recipe, ("you asked for the method", *_reasons(k, rule)), rule)
    if k.diagonal and not (method.definite_preconditioner and k.zero_diagonal):
        reason = f"`{method.name}` needs a definite preconditioner, which of the better ones none is sure to be here"
        return Choice(method, PRECONDITIONERS["jacobi"](), ("you asked for the method", reason))
    return Choice(method, None, ("you asked for the method", "the entries of A are not known"))


def _stays_definite(recipe: AbstractPreconditioner, k: Knowledge) -> bool:
    """Whether a recipe is sure to be positive definite for a method that needs that."""
    if recipe.name == "ilu":
        return k.couples_both_ways and not k.asymmetric
    return k.definite


def _chosen(k: Knowledge, rule: Rule, recipe: Any) -> Choice:
    """What a rule says, with the preconditioner that was asked for, if one was."""
    if recipe is None or isinstance(recipe, str):
        recipe = None if rule.preconditioner is None else PRECONDITIONERS[rule.preconditioner]()
    return Choice(as_method(rule.method), recipe, _reasons(k, rule), rule)


def _reasons(k: Knowledge, rule: Rule) -> tuple[str, ...]:
    when = rule.when if k.source == "unknown" else rule.when.replace("known to be", k.source)
    return (f"{when}: {rule.why}",)
