"""Training in float16: PyTorch's gradient scaler, which also says what it did."""

from __future__ import annotations

import torch

from helpers.machinery.files import LabError
from helpers.machinery.process import training_dtype

REMEDY = "lower learning_rate, and check that the features are scaled"
MOST_SKIPPED = 20  # steps running; each halves the scale, which begins at 65,536


class LossScaler(torch.amp.GradScaler):
    """Multiplies the loss, so that small gradients are not 0 in float16, whose least is 6e-8.

    A step whose gradients overflow (the most is 65,504) is left out, and the scale halved; after
    2,000 good steps it is doubled. In other numbers than float16 it is switched off and does
    nothing. Micikevicius et al. 2018 (arXiv 1710.03740).
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__(device.type, enabled=training_dtype(device) == torch.float16)
        self.skipped = 0  # running

    def is_finite(self, loss: torch.Tensor) -> bool:
        """Whether the loss is finite. Raises LabError if not, but in float16, where it may pass."""
        finite = bool(torch.isfinite(loss))
        if not finite and not self.is_enabled():
            raise LabError(f"the training loss is not finite; {REMEDY}")
        return finite

    def made_step(self) -> bool:
        """Adapt the scale, as `update()` does; whether the last step was made, not left out.

        Raises LabError when many steps running were left out: that is no matter of the scale.
        """
        before = self.get_scale()
        self.update()
        self.skipped = self.skipped + 1 if self.get_scale() < before else 0
        if self.skipped > MOST_SKIPPED:
            raise LabError(
                f"in {self.skipped} steps running the loss or its gradients were not finite in "
                f"float16; {REMEDY}"
            )
        return not self.skipped
