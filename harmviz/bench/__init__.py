"""Benches: each module's ``bench`` measures one thing on this machine and returns ``Figure``\\ s, each beside its floor
and beside what a plain way of doing it takes.

- ``figure``: what is told of one measurement; ``timing``: medians of interleaved trials; ``peak``: the memory taken;
- ``machine``: what the processor or GPU can do at best; ``floors``: what the work needs of it at least;
- ``subject``: the model that is measured, with its token ids; ``shapes``: known architectures, ``random_weights``:
  models of them;
- ``dashboard``: a server and a browser; ``scoring``, ``masks``, ``toggle``, ``decode``, ``ui``, ``playground``: the
  benches.
"""

#: The benches, each a module of this package with a function ``bench``.
BENCHES = ("scoring", "masks", "toggle", "decode", "ui", "playground")
#: Those that measure a model, and take it as ``bench(subject)``; the others read stored runs.
OF_A_MODEL = ("scoring", "toggle", "decode")
