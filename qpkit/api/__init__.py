"""The loop as functions: export, train, predict, import_predictions, evaluate. The command line calls the same ones.

Each takes paths, a verb's settings and an `on_progress`, and gives the verb's report; nothing is printed. One file a
verb, so that a command imports what it needs; `qpkit.export` and the others are these. Training and predicting need
`pip install 'qpkit[train]'`, which is imported when they are called.
"""
