"""Figures of results for papers and talks: PDF, SVG or PNG by matplotlib, equal results give equal files.

They follow the rules of tables: a point or bar holds runs of one backbone, one setting and one dataset, and what isn't ranked is
drawn hollow and says why. `docs/figures.md` shows each kind.

Modules:
    make: the choice of results, and the file.
    figure: paper, fonts, colours, panels.
    scores: bars, and dots of all seeds, of each backbone in each column of a table.
    cost: score against parameters, operations, speed, memory or time.
    curves: loss and selection metric against steps.
    efficiency: score against the number of training images.
"""
