"""Extension: the bases of methods, preconditioners and layouts, registration by one call, and the laws as `check`."""

from jaxsolve.extend.checking import check as check
from jaxsolve.extend.expansion import expand as expand
from jaxsolve.extend.findings import BrokenLaw as BrokenLaw
from jaxsolve.extend.findings import Report as Report
from jaxsolve.extend.registration import register_backend as register_backend
from jaxsolve.extend.registration import register_method as register_method
from jaxsolve.extend.registration import register_preconditioner as register_preconditioner
from jaxsolve.extend.registration import rule as rule
from jaxsolve.nonlinear.own_search import NonlinearProblem as NonlinearProblem
from jaxsolve.operators.operator import LinearOperator as LinearOperator
from jaxsolve.preconditioners.preconditioner import AbstractPreconditioner as AbstractPreconditioner
from jaxsolve.solvers.method import AbstractMethod as AbstractMethod
from jaxsolve.solvers.method import State as State
from jaxsolve.solvers.nonlinear_methods import AbstractNonlinearMethod as AbstractNonlinearMethod
