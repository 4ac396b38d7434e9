from typing import Any

from fdl.optim._base import Objective, Optimizer, Tree, call_update, evaluation_params, gradients_per_step, optimizer
from fdl.optim._optax import as_pytree, fill_ours, fill_theirs, in_optax
from fdl.optim._wrapper import name_of


@optimizer
class Chain(Optimizer):
    r"""Stages one after the other, each given what the one before made of the gradient.

    $$u^{(0)}_t = g_t, \qquad u^{(i)}_t = \mathrm{stage}_i(u^{(i-1)}_t), \qquad \theta_t = \theta_{t-1} + u^{(n)}_t$$

    `Chain(ClipByGlobalNorm(1.0), Adam(lr=1e-3), DecoupledDecay(lr=1e-3, weight_decay=0.01))`. What stands before an
    optimizer changes gradients, what stands after it changes steps. Equals `optax.chain`. The loss and the batch's loss
    function reach every stage that takes them. The state is a tuple of the stages' states.

    Args:
        stages: fdl's optimizers and transforms, optax's, or your own with `init` and `update`.
    """

    stages: tuple[Any, ...]

    def __init__(self, *given: Any, stages: tuple[Any, ...] = ()) -> None:
        object.__setattr__(self, "stages", tuple(map(as_pytree, given or stages)))

    @property
    def name(self) -> str:
        return " + ".join(map(name_of, self.stages))

    @property
    def gradients_per_step(self) -> float:
        return gradients_per_step(*self.stages)

    def init(self, params: Tree) -> Tree:
        return tuple(stage.init(params) for stage in self.stages)

    def update(
        self, grads: Tree, state: Tree, params: Tree | None = None, *, value: Any = None, objective: Objective | None = None
    ) -> tuple[Tree, Tree]:
        updates, new = grads, []
        for stage, own in zip(self.stages, state, strict=True):
            updates, own = call_update(stage, updates, own, params, value=value, objective=objective, gradient=grads)
            new.append(own)
        return updates, tuple(new)

    def evaluation_params(self, state: Tree, params: Tree) -> Tree:
        for stage, own in zip(self.stages, state):
            params = evaluation_params(stage, own, params)
        return params

    def parts(self, state: Tree) -> dict[str, tuple[Any, Tree]]:
        return {f"stages.{i}": pair for i, pair in enumerate(zip(self.stages, state))}

    def in_optax(self, optax):
        theirs = [in_optax(stage, optax) for stage in self.stages]
        return None if None in theirs else optax.chain(*theirs)

    def state_to_optax(self, theirs, ours):
        return tuple(map(fill_theirs, self.stages, theirs, ours))

    def state_from_optax(self, ours, theirs, step):
        return tuple(fill_ours(*stage, step) for stage in zip(self.stages, ours, theirs))
