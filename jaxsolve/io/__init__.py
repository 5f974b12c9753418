"""Files: matrices and vectors read and written, and what their values tell."""

from jaxsolve.io.files import read_matrix as read_matrix
from jaxsolve.io.files import read_vector as read_vector
from jaxsolve.io.files import write_vector as write_vector
