"""Statistics of results: intervals of means over seeds and images, paired differences, many tests at once, ranks.

`docs/statistics.md` says in plain words what is computed and why. No torch here; numpy and scipy are imported by the
modules, not by this package, so that tables without statistics load neither.

Modules:
    leave_one_out: per-image rows -> one value per scene and run, by leaving one scene out.
    scores: these values for all seeds of one backbone, read from result files.
    positions: a note where frozen networks differ in their kind of positions.
    variance: variance of a mean, or of a difference of means, when images and seeds are both random.
    difference: interval of a mean, and the paired difference of two backbones with interval, p-value and verdict.
    resampling: the hierarchical bootstrap over seeds and scenes.
    multiple: Holm's correction, and what can't be told from the best of a column.
    ranks: mean ranks with intervals, Friedman, Nemenyi, Wilcoxon with Holm.
"""
