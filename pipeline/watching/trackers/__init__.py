"""The trackers by the names that --track takes, which are also those of their packages and our extras."""

from collections.abc import Mapping

from .mlflow_tracker import MLflow
from .tensorboard_tracker import TensorBoard
from .tracker import Opener
from .wandb_tracker import WandB

TRACKERS: Mapping[str, Opener] = {"tensorboard": TensorBoard, "wandb": WandB, "mlflow": MLflow}
