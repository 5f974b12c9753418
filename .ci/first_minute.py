"""Runs the first example of a README in the installed package, which must be whole: `first_minute.py README.md`."""

import doctest
import pathlib
import sys

import jaxsolve as js

assert (pathlib.Path(js.__file__).parent / "py.typed").exists(), "the package must say that it is typed"
text = pathlib.Path(sys.argv[1]).read_text()
example = text.split("## One minute")[1].split("```python\n")[1].split("```")[0]
test = doctest.DocTestParser().get_doctest(example, {}, "One minute", sys.argv[1], 0)
failed, tried = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS).run(test)
print(f"jaxsolve {js.__version__} from {js.__file__}: {tried} examples, {failed} failed")
sys.exit(bool(failed or not tried))
