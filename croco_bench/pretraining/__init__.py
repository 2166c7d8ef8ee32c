"""Pre-training with cross-view completion (CroCo), MAE or MultiMAE: from a recipe and images to a checkpoint.

From a recipe to the loss, in the order of the calls (CroCo's objective):

1. `croco_bench.pretraining.pretrain`: `pretrain` runs everything below.
2. `croco_bench.pretraining.recipe`: `load` gives a `PretrainRecipe`.
3. `croco_bench.config.load`: `Draft` applies changes and checks the tables.
4. `croco_bench.pretraining.build`: `build` makes the objective.
5. `croco_bench.backbones.networks.croco`: `CroCo`, the backbone.
6. `croco_bench.pretraining.completion`: `CrossViewCompletion`, its prediction.
7. `croco_bench.pretraining.sources`: `open_source` opens the training and held-out pairs.
8. `croco_bench.pretraining.transforms`: `PairTransform` makes a sample of a pair.
9. `croco_bench.pretraining.train`: `Pretrainer` adds validation and checkpoints to the loop.
10. `croco_bench.engine.loop`: `TrainingLoop.train` runs the steps.
11. `croco_bench.engine.step`: `Stepper.step` is one step of the optimiser.
12. `croco_bench.pretraining.objective`: `MaskedPixels.forward` is the loss.
"""
